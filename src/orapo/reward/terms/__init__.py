"""The terms of the reward: every module in this folder registers its terms by name."""

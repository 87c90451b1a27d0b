"""What a reward is a weighted sum of: every module in this folder registers its terms by name."""

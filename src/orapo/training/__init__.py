"""The Lightning module that joins policy, reward and objective."""

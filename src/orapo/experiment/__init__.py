"""From a Hydra config to a finished run: the only layer that knows Hydra and W&B."""

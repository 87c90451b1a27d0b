"""Search over settings: the space, the trials in a database, and their results. It does not import Hydra."""

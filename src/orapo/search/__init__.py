"""Search over settings: the space, the trials kept in a database, and what came of them. Knows no Hydra."""

"""The sweepers of this project. Hydra takes plugins from this namespace only; what they do stands in orapo."""

"""Sweeps: the folders of their jobs, which jobs are done, and how a sweep continues after an interruption."""

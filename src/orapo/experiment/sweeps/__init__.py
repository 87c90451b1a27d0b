"""Sweeps: where their jobs lie, which of them are done, and how a sweep goes on after failures and interruptions."""

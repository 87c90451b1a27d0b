"""Runs and sweeps side by side: groups over seeds, significance, effects of swept settings, curves, one page."""

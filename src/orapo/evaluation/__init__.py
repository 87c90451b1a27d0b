"""Held-out measures of generated reports."""

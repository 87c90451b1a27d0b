"""Measures of generated reports on held-out studies."""

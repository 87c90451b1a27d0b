"""Measures of a generated report beside the oracle report, which rewards and evaluation share."""

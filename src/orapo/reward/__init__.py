"""What a generated report is worth, and why."""

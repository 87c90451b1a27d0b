"""OraPO: oracle-educated reinforcement learning for radiology report generation."""

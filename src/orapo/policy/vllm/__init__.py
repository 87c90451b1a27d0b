"""Rollouts by a vLLM server: the policy's adapter is published to it, and what it samples comes back checked."""

"""Rollouts by a vLLM server: the policy's weights are published to it, and its answers are checked."""

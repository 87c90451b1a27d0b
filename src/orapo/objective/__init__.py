"""Losses as pure functions, and the OraPO mixture of them."""

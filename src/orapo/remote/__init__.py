"""Calls to services that may fail: errors, retries, pauses, cached answers, one thread for all."""

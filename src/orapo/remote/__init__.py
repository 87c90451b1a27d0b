"""Calls to services that may fail: errors, further tries, pauses, answers that are kept, one thread for all."""

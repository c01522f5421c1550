"""Finished and running runs: their state, their settings, and which of them are one row."""

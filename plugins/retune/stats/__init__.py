"""Intervals and tests, each with its source; no stage of its own."""

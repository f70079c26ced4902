"""Watching a live release: captured traffic, drift, and when to train again."""

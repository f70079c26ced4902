"""`retune cleanup`: what nothing points at any more, by each pipeline's `retention`, and its removal."""

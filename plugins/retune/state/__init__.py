"""Retune's own database: the authority for what was intended, released, routed and seen."""

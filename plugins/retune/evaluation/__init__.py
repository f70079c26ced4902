"""Contenders answer the held-out set; the gate decides on the evidence."""

"""Text for the questions that people are asked."""

from __future__ import annotations


def cell(text: str) -> str:
    """Return a text that stays within its cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")

"""How much text an endpoint of one's own takes at once."""

from __future__ import annotations

import json
from pathlib import Path

MOST = 4096
"""Tokens up to which endpoints serve, however long the model could read: the cache costs memory."""


def served_context(folder: Path) -> int:
    """Return the tokens of prompt and answer together that a base model is served with.

    Args:
        folder: The base model's; where it says nothing, or is a hub's name, `MOST`.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return min(int(config["max_position_embeddings"]), MOST)
    except (OSError, ValueError, KeyError, TypeError):
        return MOST

"""Looks once more whether what judges was also learned from."""

from __future__ import annotations

from collections.abc import Iterable

from retune.text.conversations import read_conversation


def leaked_rows(train_lines: Iterable[bytes], held_out_lines: Iterable[bytes]) -> int:
    """Count the held-out examples whose question also stands on the training side.

    The data stage keeps them apart; this looks at the very files that were trained on and judged by, so
    that a hand-made dataset or a fault there cannot promote. Questions are compared by fingerprint: white
    space and Unicode forms do not matter, and a question with another answer is the same question.

    Args:
        train_lines: Lines of the canonical files that a model learned from or was chosen by.
        held_out_lines: Lines of the held-out file.

    Returns:
        Held-out examples, each counted once however often it was learned.

    Raises:
        ValueError: A line is no conversation.
    """
    held_out = [read_conversation(line).fingerprint for line in held_out_lines if line.strip()]
    watched = set(held_out)
    leaked = {
        fingerprint
        for line in train_lines
        if line.strip() and (fingerprint := read_conversation(line).fingerprint) in watched
    }
    return sum(fingerprint in leaked for fingerprint in held_out)

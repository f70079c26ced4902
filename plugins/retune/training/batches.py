"""Rows become batches: several in one line of tokens, or each padded to the longest.

In one line nothing is padded and the rows stay apart: positions start anew with each, and attention
is told where each begins and ends (`retune.training.attention`).
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retune.training import attention
from retune.training.tokens import TokenRows

Example = tuple[int, ...]
"""Numbers of the rows that stay together: one, a pair of DPO, or all of a packed row."""


def examples(rows: TokenRows, rows_each: int) -> list[Example]:
    """Return the rows as they stand: one an example, or two where they are pairs."""
    return [tuple(range(first, first + rows_each)) for first in range(0, len(rows), rows_each)]


def pack(found: Sequence[Example], lengths: Sequence[int], capacity: int, seed: int) -> list[Example]:
    """Put examples together, each set at most `capacity` tokens long where its members are.

    The longest is placed first, into the set that it fills best (best-fit decreasing), so about one
    token in a hundred stays unused; equally long ones are mixed by the seed.

    Args:
        found: What to put together.
        lengths: Tokens of each row.
        capacity: Tokens.
        seed: Of the mixing.
    """
    mixed = list(found)
    random.Random(seed).shuffle(mixed)
    sizes = {example: sum(lengths[row] for row in example) for example in mixed}
    packs: list[list[Example]] = []
    free: list[tuple[int, int]] = []  # (tokens left, number of the pack), sorted
    for example in sorted(mixed, key=lambda one: -sizes[one]):
        place = bisect.bisect_left(free, (sizes[example], -1))
        if place == len(free):
            left, number = max(capacity, sizes[example]), len(packs)
            packs.append([])
        else:
            left, number = free.pop(place)
        packs[number].append(example)
        bisect.insort(free, (left - sizes[example], number))
    return [tuple(row for example in members for row in example) for members in packs]


@dataclass(frozen=True)
class Collator:
    """Makes a batch of examples.

    Attributes:
        rows: All rows of the side.
        in_one_line: Whether rows follow each other in one line; else each is padded.
        pad_token: Fills what is padded.
        reference: DPO: the log-probability that the starting model gives each row.
    """

    rows: TokenRows
    in_one_line: bool
    pad_token: int
    reference: Any = None

    def __call__(self, batch: Sequence[Example]) -> dict[str, Any]:
        """Return what `loss` reads: the model's inputs, and where it is asked for which token.

        Returns:
            `input_ids` with `position_ids` and `blocks` or with `attention_mask`; `kept` (places, in
            the flattened input, whose next token is learned), `labels` (these tokens), `rows` (the
            row, counted in the batch, of each) and for DPO `reference`.
        """
        import torch

        numbers = [number for example in batch for number in example]
        pairs = [self.rows.row(number) for number in numbers]
        lengths = [len(ids) for ids, _ in pairs]
        width = max(lengths)
        made: dict[str, Any] = {}
        if self.in_one_line:
            starts = [sum(lengths[:place]) for place in range(len(lengths))]
            made["input_ids"] = torch.cat([ids for ids, _ in pairs]).long()[None]
            made["position_ids"] = torch.cat([torch.arange(length) for length in lengths])[None]
            made["blocks"] = attention.blocks(lengths)
        else:
            starts = [place * width for place in range(len(lengths))]
            made["input_ids"] = torch.full((len(lengths), width), self.pad_token)
            made["attention_mask"] = torch.zeros(len(lengths), width, dtype=torch.long)
            for place, (ids, _) in enumerate(pairs):
                made["input_ids"][place, : len(ids)] = ids
                made["attention_mask"][place, : len(ids)] = 1
        # The first token of a row is nobody's next.
        learned = [marks[1:].nonzero().squeeze(1) for _, marks in pairs]
        made["kept"] = torch.cat([places + start for places, start in zip(learned, starts, strict=True)])
        made["labels"] = torch.cat(
            [ids[1:][places] for (ids, _), places in zip(pairs, learned, strict=True)]
        ).long()
        made["rows"] = torch.repeat_interleave(torch.tensor([len(places) for places in learned]))
        if self.reference is not None:
            made["reference"] = self.reference[torch.tensor(numbers)]
        return made

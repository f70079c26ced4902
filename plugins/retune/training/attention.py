"""Attention over several rows that stand in one line of tokens, in which no row sees another.

Of a decoder's layers only attention mixes tokens. So all others run on the line as it is, without
padding, and attention takes the line apart: rows of like length become a padded batch of their own,
in which being causal is all the mask there is. It needs nothing but PyTorch's own attention, on any
device, and cannot leak, as a row never meets another's keys.

Source of the interface: https://huggingface.co/docs/transformers/attention_interface
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retune.errors import BackendError

NAME = "retune_blocks"
_PADDING = 2
"""A row joins a padded batch whose longest is at most this many times its length."""


def blocks(lengths: Sequence[int]) -> dict[str, Any]:
    """Say how a line of rows is taken apart and put together again.

    Args:
        lengths: Tokens of the rows, as they follow each other in the line.

    Returns:
        `taken`: for each padded batch the places in the line, row by row, the last one repeated as
        padding; `back`: for each token of the line its place among all that was taken.
    """
    import torch

    starts = [sum(lengths[:row]) for row in range(len(lengths))]
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not batches or lengths[row] * _PADDING < lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(row)
    taken, back, before = [], torch.empty(sum(lengths), dtype=torch.long), 0
    for batch in batches:
        width = lengths[batch[0]]
        places = torch.arange(width)
        taken.append(torch.stack([places.clamp(max=lengths[row] - 1) + starts[row] for row in batch]))
        for number, row in enumerate(batch):
            first = before + number * width
            back[starts[row] : starts[row] + lengths[row]] = places[: lengths[row]] + first
        before += len(batch) * width
    return {"taken": taken, "back": back}


def install(model: Any) -> None:
    """Let a model attend by `blocks`, which each of its calls must then be given."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
    model.set_attn_implementation(NAME)


def why_not(config: Any, longest: int) -> str:
    """Return what in a model's configuration rules attention by blocks out, or nothing.

    Args:
        config: The text model's.
        longest: Tokens of the longest row.
    """
    if getattr(config, "attn_logit_softcapping", None):
        return "it caps its attention scores"
    window = getattr(config, "sliding_window", None)
    if window and longest > window and getattr(config, "use_sliding_window", True):
        return f"its attention window of {window} tokens is shorter than the longest row ({longest})"
    return ""


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    blocks: dict[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if blocks is None:
        raise BackendError("the model does not tell its attention where rows begin", "set packing: false")
    line = [part[0].transpose(0, 1) for part in (query, key, value)]
    found = []
    for places in blocks["taken"]:
        states, keys, values = (
            part.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2) for part in line
        )
        out, _ = sdpa_attention_forward(
            module, states, keys, values, None, dropout=dropout, scaling=scaling, is_causal=True, **kwargs
        )
        found.append(out.flatten(0, 1))
    joined = torch.cat(found) if len(found) > 1 else found[0]
    return joined.index_select(0, blocks["back"])[None], None

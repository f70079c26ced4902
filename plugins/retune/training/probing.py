"""What a base model can do is tried on two short rows, not guessed from its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retune.errors import BackendError
from retune.training import attention
from retune.training.batches import Collator
from retune.training.tokens import TokenRows

_SHORT = 16
_NEAR_ENOUGH, _NEAR_ENOUGH_IN_HALF = 1e-3, 0.15
"""Shares of the logits' spread; what leaks between rows moves them by about all of it."""


@dataclass(frozen=True)
class Abilities:
    """What a model can do.

    Attributes:
        in_one_line: Rows may follow each other in one line: none sees another.
        simple_head: Logits are its output embedding times its last hidden state, and nothing more.
    """

    in_one_line: bool
    simple_head: bool


def probe(model: Any, rows: TokenRows, packing: bool) -> Abilities:
    """Try a base model, and leave it attending by blocks where it can.

    Args:
        model: The bare model.
        rows: Of the training side.
        packing: Whether rows must go into one line.

    Raises:
        BackendError: They must, and the model would mix them.
    """
    import torch

    config = model.config.get_text_config()
    reason = attention.why_not(config, max(rows.lengths))
    parts = [rows.row(0), rows.row(len(rows) - 1)]
    short = TokenRows.make([(ids[:_SHORT].tolist(), [True] * len(ids[:_SHORT])) for ids, _ in parts])
    device = next(model.parameters()).device
    with torch.no_grad():
        alone = [
            model(short.row(row)[0].long()[None].to(device), use_cache=False).logits[0] for row in (0, 1)
        ]
        expected = torch.cat(alone).float()
        first = short.row(0)[0].long()[None].to(device)
        simple = _is_near(model, lambda: _through_head(model, first), alone[0].float())
        if not reason:
            before = model.config._attn_implementation
            attention.install(model)
            if not _is_near(model, lambda: _in_one_line(model, short, device), expected):
                reason = "rows in one line change each other's logits"
                model.set_attn_implementation(before)
    if reason and packing:
        raise BackendError(f"this base model cannot train on packed rows: {reason}", "set packing: false")
    return Abilities(not reason, simple)


def _in_one_line(model: Any, short: TokenRows, device: Any) -> Any:
    batch = Collator(short, True, 0)([(0, 1)])
    blocks = {
        "taken": [places.to(device) for places in batch["blocks"]["taken"]],
        "back": batch["blocks"]["back"].to(device),
    }
    line, positions = batch["input_ids"].to(device), batch["position_ids"].to(device)
    return model(line, position_ids=positions, blocks=blocks, use_cache=False).logits[0].float()


def _through_head(model: Any, ids: Any) -> Any:
    hidden = model.get_decoder()(ids, use_cache=False).last_hidden_state
    return model.get_output_embeddings()(hidden)[0].float()


def _is_near(model: Any, measured: Callable[[], Any], expected: Any) -> bool:
    import torch

    try:
        found = measured()
    except (AttributeError, TypeError, ValueError, RuntimeError, BackendError):
        return False  # its architecture knows no such call
    share = _NEAR_ENOUGH if model.dtype == torch.float32 else _NEAR_ENOUGH_IN_HALF
    return float((found - expected).abs().max()) <= share * float(expected.std())

"""What a dataset is like, as plain JSON: the figures of the data card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retune.data.distributions import balance_of, deviations, diversity_of, lengths_of
from retune.data.drops import REASONS, Drops
from retune.data.label_errors import LabelErrors
from retune.data.spool import Spool
from retune.data.token_totals import TokenTotal
from retune.data.traffic_distance import MOST_PROMPTS, distance_to_traffic
from retune.spec import PipelineSpec, SplitShares

if TYPE_CHECKING:
    import polars as pl

SIDES = ("train", "validation", "held_out")
GUIDE = (
    (50, "the 50 to 100 from which OpenAI sees improvements"),
    (500, "the 500 that are recommended at least"),
    (1000, "the 1,000 that are recommended"),
)
GUIDE_SOURCES = (
    'OpenAI, Supervised fine-tuning, "Right number of examples" (developers.openai.com): it takes 10 or'
    " more and sees improvements from 50-100.",
    "Google, Prepare supervised fine-tuning data for Gemini (docs.cloud.google.com): start with 100, up to"
    " thousands.",
    "500 and 1,000 are Retune's own steps between the two.",
)
# Of these no text may be shown: the rows were left out because of what it says.
_UNSEEN = ("personal_data", "forgotten", "malformed")
_EXAMPLES, _SUSPECTS, _MOST_CHARS, _SAMPLE = 5, 20, 160, 10_000


@dataclass(frozen=True)
class Found:
    """What the steps of the stage found beside the rows.

    Attributes:
        rows_read: Source -> rows read.
        personal: Kind -> pieces of personal data.
        cleaned: Rows that cleaning changed.
        label_errors: None where labels were not judged.
        judged: The examples that were judged: a suspect's `row` is an index into it.
        near_pairs: Pairs of examples that are nearly the same and share a side.
        tokens: One for each base model.
        traffic: Captured prompts; empty where there is no traffic.
        warnings: What Great Expectations warned of.
        held_out_uses: How often the held-out set was used to judge.
    """

    rows_read: Mapping[str, int]
    personal: Mapping[str, int] = field(default_factory=dict)
    cleaned: int = 0
    label_errors: LabelErrors | None = None
    judged: pl.DataFrame | None = None
    near_pairs: int = 0
    tokens: Sequence[TokenTotal] = ()
    traffic: Sequence[str] = ()
    warnings: Sequence[str] = ()
    held_out_uses: int = 0


def describe(
    examples: pl.DataFrame, drops: Drops, spool: Spool, spec: PipelineSpec, found: Found
) -> dict[str, Any]:
    """Return all figures as plain JSON.

    Args:
        examples: The dataset: the rows that are left, with their `side`.
        drops: The rows that are not.
        spool: Has the text of both.
        spec: The frozen spec.
        found: What the steps found beside.
    """
    counts = drops.counts
    train = examples.filter(examples["side"] == "train")
    return {
        "schema_version": 1,
        "pipeline": spec.pipeline,
        "kind": spec.task.kind,
        "rows": _rows(examples, train.height, found),
        "drops": _dropped(drops, spool, sum(found.rows_read.values())),
        "labels": balance_of(examples, SIDES) if _has_labels(examples) else None,
        "diversity": diversity_of(spool.prompts(_sample(examples, spec.seed, _SAMPLE))),
        "lengths": {part: lengths_of(examples[f"{part}_chars"]) for part in ("prompt", "completion")},
        "tokens": [_tokens(total) for total in found.tokens],
        "split": _split(examples, spec.data.split),
        "duplicates": _duplicates(counts, found),
        "leaks": _leaks(drops, found.held_out_uses),
        "label_errors": _label_errors(found, spool, spec.data.label_errors),
        "personal": _personal(found, counts, spec.data.privacy),
        "warnings": list(found.warnings),
        "traffic": _traffic(train, spool, found.traffic, spec.seed),
    }


def _has_labels(examples: pl.DataFrame) -> bool:
    return bool((examples["label"] != "").any())


def _sample(examples: pl.DataFrame, seed: int, most: int) -> pl.DataFrame:
    return examples.sample(most, seed=seed) if examples.height > most else examples


def _rows(examples: pl.DataFrame, train: int, found: Found) -> dict[str, Any]:
    kept = examples["file"].value_counts()
    by_file = dict(kept.iter_rows())
    read = sum(found.rows_read.values())
    return {
        "read": read,
        "kept": examples.height,
        "train": train,
        "cleaned": found.cleaned,
        "sources": [
            {"file": name, "read": rows, "kept": by_file.get(name, 0)}
            for name, rows in found.rows_read.items()
        ],
        "guide": [{"rows": rows, "means": means} for rows, means in GUIDE],
        "guide_sources": list(GUIDE_SOURCES),
        "said": f"{train:,} rows to train on: {_against_guide(train)}.",
    }


def _against_guide(rows: int) -> str:
    reached = [means for least, means in GUIDE if rows >= least]
    missed = [means for least, means in GUIDE if rows < least]
    parts = [f"above {reached[-1]}"] if reached else []
    return ", ".join(parts + ([f"below {missed[0]}"] if missed else []))


def _dropped(drops: Drops, spool: Spool, read: int) -> list[dict[str, Any]]:
    """Return each reason that dropped a row, in the order of the steps, with its first rows."""
    frame = drops.frame
    return [
        {
            "reason": reason,
            "means": REASONS[reason],
            "rows": rows,
            "share": round(rows / read, 4) if read else 0.0,
            "examples": _examples(
                frame.filter(frame["reason"] == reason).head(_EXAMPLES), spool, reason not in _UNSEEN
            ),
        }
        for reason, rows in drops.counts.items()
        if rows
    ]


def _examples(rows: pl.DataFrame, spool: Spool, seen: bool) -> list[dict[str, Any]]:
    texts = iter(spool.prompts(rows.filter(rows["size"] > 0))) if seen else iter(())
    return [
        {
            "file": row["file"],
            "line": row["line"],
            "detail": row["detail"] or "",
            "text": _short(next(texts)) if seen and row["size"] else "",
        }
        for row in rows.select("file", "line", "detail", "size").iter_rows(named=True)
    ]


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _tokens(total: TokenTotal) -> dict[str, Any]:
    import polars as pl

    over = sum(length > total.window for length in total.lengths)
    return {
        "base_model": total.base_model,
        "counter": total.counter,
        "exact": total.exact,
        "tokens": total.tokens,
        "error": None if total.error is None else round(total.error, 4),
        "counted": len(total.lengths),
        "rows": total.rows,
        "window": total.window,
        "over_window": over,
        "lengths": lengths_of(pl.Series(total.lengths, dtype=pl.Int64)),
        "said": total.said,
    }


def _split(examples: pl.DataFrame, shares: SplitShares) -> dict[str, Any]:
    wished = {
        "train": 1 - shares.validation - shares.held_out,
        "validation": shares.validation,
        "held_out": shares.held_out,
    }
    whole = deviations(examples, wished)
    strata = deviations(examples, wished, "stratum") if (examples["stratum"] != "").any() else []
    worst = strata[0] if strata else None
    text = ", ".join(f"{side['side']} {side['got']:.1%} (wished {side['wished']:.1%})" for side in whole)
    if worst:
        text += (
            f"; furthest off: {worst['of']} with {worst['rows']:,} of {worst['all']:,} in {worst['side']}"
            f" ({worst['got']:.1%})"
        )
    return {"sides": whole, "worst": strata[:10], "said": f"{text}."}


def _duplicates(counts: Mapping[str, int], found: Found) -> dict[str, Any]:
    exact, near, conflicts = counts["duplicate"], counts["near_duplicate"], counts["conflict"]
    read = sum(found.rows_read.values())
    share = (exact + near) / read if read else 0.0
    return {
        "exact": exact,
        "near": near,
        "conflicts": conflicts,
        "linked_pairs": found.near_pairs,
        "share": round(share, 4),
        "said": (
            f"{exact:,} copies and {near:,} near-duplicates were left out ({share:.1%} of the rows), and"
            f" {conflicts:,} rows whose prompt stands under several labels; {found.near_pairs:,} pairs that"
            " are close were kept on one side each."
        ),
    }


def _leaks(drops: Drops, uses: int) -> dict[str, Any]:
    counts, frame = drops.counts, drops.frame
    how: Mapping[str, int] = {}
    if counts["was_held_out"]:
        how = dict(frame.filter(frame["reason"] == "was_held_out")["detail"].value_counts().iter_rows())
    return {
        "stopped": counts["was_held_out"] + counts["bridges_split"],
        "exact": how.get("exact", 0),
        "near": how.get("near", 0),
        "bridges": counts["bridges_split"],
        "held_out_uses": uses,
        "said": (
            f"{counts['was_held_out']:,} rows that ask what was once held out were kept out of training, and"
            f" {counts['bridges_split']:,} that are close to rows on two sides; the held-out set was used"
            f" {uses:,} times to judge."
        ),
    }


def _label_errors(found: Found, spool: Spool, policy: str) -> dict[str, Any] | None:
    errors = found.label_errors
    if errors is None or found.judged is None:
        return None
    first = errors.suspects[:_SUSPECTS]
    rows = found.judged[[suspect.row for suspect in first]]
    places: Iterable[tuple[str, int]] = rows.select("file", "line").iter_rows()
    return {
        "found": len(errors.suspects),
        "judged": errors.judged,
        "rows": errors.rows,
        "labels_left_out": errors.left_out,
        "policy": policy,
        "top": [
            {
                "file": file,
                "line": line,
                "text": _short(text),
                "given": suspect.given,
                "suggested": suspect.suggested,
                "confidence": round(suspect.confidence, 4),
            }
            for suspect, (file, line), text in zip(first, places, spool.prompts(rows), strict=True)
        ],
        "said": f"{errors.said} They were {'left out' if policy == 'drop' else 'kept'}.",
    }


def _personal(found: Found, counts: Mapping[str, int], policy: str) -> dict[str, Any]:
    kinds = {kind: n for kind, n in sorted(found.personal.items(), key=lambda item: (-item[1], item[0])) if n}
    total = sum(kinds.values())
    done = {
        "redact": "replaced by a placeholder",
        "reject": f"and {counts['personal_data']:,} rows were left out for it",
        "allow": "left as they are",
    }[policy]
    said = f"{total:,} pieces of personal data were found, {done}." if total else "None was found."
    if policy == "allow" and not total:
        said = "Not looked for: data.privacy is allow."
    return {"policy": policy, "kinds": kinds, "total": total, "said": said}


def _traffic(train: pl.DataFrame, spool: Spool, traffic: Sequence[str], seed: int) -> dict[str, Any] | None:
    if not traffic:
        return None
    prompts = (row.prompt for row in spool.read(_sample(train, seed, MOST_PROMPTS)))
    return distance_to_traffic(prompts, traffic, seed).to_json()

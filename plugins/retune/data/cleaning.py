"""Which rows are left out of a dataset, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from retune.data.intake import SourceRow
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, conversation


@dataclass(frozen=True)
class Cleaned:
    """What is left, and how many rows were dropped for each reason.

    Attributes:
        rows: The examples, sorted by id; no two share a prompt.
        dropped: `empty`, `unlisted_label`, `duplicate` (copies beyond the first) and `conflict`
            (one prompt under several labels: all of them), reason -> rows.
    """

    rows: list[Conversation]
    dropped: dict[str, int]


def clean(rows: Iterable[SourceRow], spec: PipelineSpec) -> Cleaned:
    """Turn source rows into examples; the result does not depend on the rows' order."""
    dropped = Counter(empty=0, unlisted_label=0, duplicate=0, conflict=0)
    labels = set(spec.task.labels)
    by_id: dict[str, Conversation] = {}
    for row in rows:
        prompt = row.values[spec.data.columns.prompt] or ""
        completion = row.values[spec.data.columns.completion] or ""
        example = conversation(spec.data.system_prompt, prompt, completion)
        if not example.prompt or not example.completion:
            dropped["empty"] += 1
        elif labels and example.completion not in labels:
            dropped["unlisted_label"] += 1
        elif example.id in by_id:
            dropped["duplicate"] += 1
            # Of copies that differ in white space one is kept, whichever came first.
            by_id[example.id] = min(example, by_id[example.id], key=lambda copy: copy.prompt)
        else:
            by_id[example.id] = example
    by_prompt: defaultdict[str, list[Conversation]] = defaultdict(list)
    for example in by_id.values():
        by_prompt[example.fingerprint].append(example)
    kept = [same[0] for same in by_prompt.values() if len(same) == 1]
    dropped["conflict"] = len(by_id) - len(kept)
    return Cleaned(sorted(kept, key=lambda example: example.id), dict(dropped))

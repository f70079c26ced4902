"""The key of a job, and which of its attempts counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from retune.artifacts import Artifacts, digest_of_json
from retune.backends.base import BUILT_IN, ENDED, Backend, Order
from retune.errors import BackendError
from retune.records import Dataset, JobStatus, Recipe
from retune.state import jobs
from retune.state.database import Database, stamp

MOST_FAILURES = 5
"""Attempts that may fail before the same job is not tried again."""


def job_key(dataset: Dataset, recipe: Recipe, backend: str, account: str, attempt: int) -> str:
    """Return the key of a job: the same data, recipe, payer and attempt are the same job.

    What does not change the model is left out: the spec's digest, the recipe's place, our version. So is a
    hyperparameter of ours that says nothing, so that a later version's new one changes no key. What another
    package's options mean is not known, and all of them count.
    """
    what = recipe.to_json()
    if backend in BUILT_IN:
        given = what["hyperparameters"].items()
        what["hyperparameters"] = {name: value for name, value in given if not _says_nothing(value)}
    for name in ("schema_version", "spec_digest", "retune_version", "index", "place"):
        del what[name]
    parts = {"dataset": dataset.digest, "recipe": what, "backend": backend, "account": account}
    return digest_of_json(parts | {"attempt": attempt}).removeprefix("sha256:")


def _says_nothing(value: Any) -> bool:
    # By identity: 0 equals False, and says something.
    return value is None or value is False or value in ("", {})


def current(
    recipe: Recipe,
    dataset: Dataset,
    backend: Backend,
    db: Database,
    artifacts: Artifacts,
    report: Callable[[str], None],
    forced_at: datetime | None = None,
) -> tuple[Order, jobs.JobRow | None]:
    """Return the attempt that counts: the one under way, else the last that has a model, else a new one.

    Args:
        recipe: What to train.
        dataset: On what.
        backend: Where.
        db: The state.
        artifacts: Says whether an earlier model is still stored.
        report: Takes a line where it is not.
        forced_at: Attempts that ended before it do not count; None: all count.

    Raises:
        BackendError: It failed too often.
    """
    failed: list[str] = []
    made: tuple[Order, jobs.JobRow] | None = None
    with db.read() as tx:
        for attempt in count(1):
            key = job_key(dataset, recipe, backend.name, backend.account, attempt)
            row = jobs.get(tx, key)
            order = Order(key, attempt, recipe, dataset)
            if row is None and made is not None:
                return made
            if row is None and len(failed) >= MOST_FAILURES:
                raise BackendError(
                    f"{recipe.title} failed {len(failed)} times on dataset {dataset.digest},"
                    f" the last time by: {failed[-1]}",
                    "mend the recipe or the data; to try the same again, start a run with `force`",
                )
            if row is None or row.status not in ENDED:
                return order, row
            if forced_at and (row.finished_at or 0.0) < stamp(forced_at):
                continue
            if row.model is not None:
                if row.model.kind == "hosted" or artifacts.exists(row.model.digest):
                    made = order, row
                    continue
                report(f"{recipe.title}: {row.model.digest} is no longer stored; training it again")
            if row.status is JobStatus.FAILED:
                failed.append(row.error)
    raise AssertionError("count() does not end")

"""What OpenAI tells of a training: its events, its result file and its checkpoints, as curves.

A service without these routes (404) tells nothing: the job goes on without curves.
Shapes: https://platform.openai.com/docs/api-reference/fine-tuning/event-object; a metrics event's `data`
is {step, total_steps, train_loss, train_mean_token_accuracy, valid_loss, ...}. Result files are CSV and
come in Base64.
"""

from __future__ import annotations

import base64
import binascii
import csv
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retune.backends.base import Curves, Point
from retune.backends.openai_client import Account, entries_of, every, given, pages
from retune.backends.openai_refusals import NotThereError, asked

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

_NAMES = {
    "train_loss": "loss",
    "valid_loss": "eval_loss",
    "train_accuracy": "mean_token_accuracy",
    "train_mean_token_accuracy": "mean_token_accuracy",
    "valid_mean_token_accuracy": "eval_mean_token_accuracy",
    "full_valid_loss": "full_eval_loss",
    "full_valid_mean_token_accuracy": "full_eval_mean_token_accuracy",
}
"""The service's name -> the one that all backends share; `valid_` is measured on a batch of the
validation set, `full_valid_` on all of it. Names that are not here, such as rewards, stay as they are."""
_NO_MEASURES = frozenset({"step", "total_steps"})
_PAUSED, _RESUMED = re.compile(r"\bpaus(ed|ing)\b", re.I), re.compile(r"\bresum(ed|ing)\b", re.I)


@dataclass(frozen=True)
class Checkpoint:
    """A model that a job kept on its way."""

    step: int
    model: str
    """Its name in a request."""
    loss: float | None
    """On the whole validation set, or where it is not told on a batch of it."""


@dataclass
class Told:
    """What a job's events told so far; asking again reads only the new ones."""

    seen: set[str] = field(default_factory=set)
    at: dict[int, float] = field(default_factory=dict)
    """Step -> seconds since 1970 of its first event."""
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    total_steps: int = 0
    results_read: bool = False

    def take(self, events: Iterable[Any]) -> None:
        """Take in events, in any order."""
        for event in events:
            self.seen.add(event.id)
            data = event.data
            if event.type != "metrics" or not isinstance(data, dict) or "step" not in data:
                continue
            step = int(data["step"])
            self.at[step] = min(self.at.get(step, math.inf), float(event.created_at))
            self.values.setdefault(step, {}).update(measured(data))
            self.total_steps = max(self.total_steps, int(data.get("total_steps") or 0))

    def curves(self, began: float) -> Curves:
        """Return them as curves.

        Args:
            began: Seconds since 1970, from when the points' seconds count.
        """
        points, seconds = [], 0.0
        for step in sorted(self.values):
            seconds = max(seconds, self.at.get(step, began) - began)
            points.append(Point(step, seconds, self.values[step]))
        return Curves(tuple(points), max(self.total_steps, points[-1].step) if self.total_steps else 0)


def read_curves(job: FineTuningJob, told: Told, account: Account) -> Curves:
    """Return all that was measured of a job, and remember it in `told`."""
    with suppress(NotThereError):
        # As a list: of a reading that breaks off nothing may be known, or the next would stop before the gap.
        told.take(list(_news(job.id, told, account)))
    files = getattr(job, "result_files", None)
    if files and not told.results_read:
        for step, values in _results(files[0], account).items():
            told.values[step] = {**values, **told.values.get(step, {})}
        told.results_read = True
    return told.curves(job.created_at)


def _news(job: str, told: Told, account: Account) -> Iterable[Any]:
    """Yield the events that are not known; the service lists the newest first."""
    known = frozenset(told.seen)
    for page in pages(account.service, lambda after: _page(job, after, account)):
        yield from (event for event in page if event.id not in known)
        newest_first = page[0].created_at >= page[-1].created_at
        if newest_first and any(event.id in known for event in page):
            return


def _page(job: str, after: str, account: Account) -> Any:
    return account.client.fine_tuning.jobs.list_events(job, **given(after))


def is_paused(job: str, account: Account) -> bool:
    """Tell from a job's newest events whether it rests: there is no such status."""
    try:
        page = asked(account.service, lambda: account.client.fine_tuning.jobs.list_events(job))
    except NotThereError:
        return False
    for event in sorted(entries_of(page, account.service), key=lambda event: -event.created_at):
        if _RESUMED.search(event.message):
            return False
        if _PAUSED.search(event.message):
            return True
    return False


def read_checkpoints(job: str, account: Account) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that a job kept, by step."""

    def page(after: str) -> Any:
        return account.client.fine_tuning.jobs.checkpoints.list(job, **given(after))

    found: list[Checkpoint] = []
    with suppress(NotThereError):
        for one in every(account.service, page):
            found.append(Checkpoint(one.step_number, one.fine_tuned_model_checkpoint, _loss(one.metrics)))
    return tuple(sorted(found, key=lambda one: one.step))


def best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Return the checkpoint with the least validation loss, of equals the earliest; None: none has one."""
    told = [(one.loss, one.step, one) for one in checkpoints if one.loss is not None]
    return min(told, key=lambda ranked: ranked[:2])[2] if told else None


def _loss(metrics: Any) -> float | None:
    for name in ("full_valid_loss", "valid_loss"):
        value = getattr(metrics, name, None)
        if value is not None and math.isfinite(value):
            return float(value)
    return None


def measured(data: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures of an event or of a result file's row, by the names that all backends share."""
    found: dict[str, float] = {}
    for name, value in data.items():
        number = None if name in _NO_MEASURES or isinstance(value, bool | str) else _number(value)
        if number is not None:
            found[_NAMES.get(name, name)] = number
    return found


def _results(file: str, account: Account) -> dict[int, dict[str, float]]:
    try:
        content = asked(account.service, lambda: account.client.files.content(file))
    except NotThereError:  # somebody deleted it: the events tell nearly the same
        return {}
    return parse_results(content.content)


def parse_results(content: bytes) -> dict[int, dict[str, float]]:
    """Return step -> measures of a result file; nothing where it is no such file.

    Args:
        content: CSV, or CSV in Base64.
    """
    try:
        content = base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        pass  # plain CSV has commas
    rows = csv.DictReader(content.decode("utf-8-sig", "replace").splitlines())
    found: dict[int, dict[str, float]] = {}
    with suppress(csv.Error):
        for row in rows:
            numbers = {name: _number(value) for name, value in row.items() if isinstance(name, str)}
            step = numbers.get("step")
            if step is not None:
                found[int(step)] = measured(numbers)
    return found


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

"""An emulator with thousands of running jobs of one account."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.emulator_desk import Desk, make_desk
from retune.backends.jobs import Underway, begin
from retune.records import Job
from retune.testing.emulators.ids import fresh
from retune.testing.emulators.process import Running, running
from retune.testing.emulators.store import opened
from retune.testing.emulators.vertex_names import fresh_number

FOR_EVER_S = 1e6


def make_jobs(desk: Desk, number: int) -> list[Job]:
    """Order one job, put copies of it into the emulator's store, all of them running, and return them."""
    found = begin(desk.recipe(0), desk.dataset, desk.site)
    assert isinstance(found, Underway)
    store = desk.emulator.store
    [entry] = store.all("job")
    [labels] = store.creations().values()
    begun = time.time()
    jobs = []
    with store.transaction():
        for copy in range(number):
            key = f"{found.job.key[:-6]}{copy:06}"
            at = begun + copy * 1e-5
            name, fields = _renamed(entry.body["fields"], found.job.provider_id)
            life = entry.body["life"] | {"phase": "running", "entered": {"validating": at, "running": at}}
            body = entry.body | {"fields": fields | _labelled(fields, key), "life": life}
            store.add("job", name, body, at=at, labels=labels | {"retune_key": key}, job=True)
            copied = {"key": key, "provider_id": fields.get("id") or fields["name"]}
            jobs.append(Job.from_json(found.job.to_json() | copied))
    return jobs


def _renamed(fields: dict[str, Any], before: str) -> tuple[str, dict[str, Any]]:
    if "id" in fields:
        name = fresh("ftjob-")
        return name, fields | {"id": name}
    name = fresh_number()
    return name, fields | {"name": f"{before.rpartition('/')[0]}/{name}"}


def _labelled(fields: dict[str, Any], key: str) -> dict[str, Any]:
    place = "metadata" if "metadata" in fields else "labels"
    return {place: fields[place] | {"retune_key": key}}


def end_all(emulator: Running) -> None:
    """Let all jobs end at once, as if somebody had cancelled them in the provider's console."""
    now = time.time()
    with opened(emulator.folder) as store, store.transaction():
        for entry in store.all("job"):
            life = entry.body["life"]
            life |= {"phase": "cancelled", "entered": life["entered"] | {"cancelled": now}}
            store.replace("job", entry.id, entry.body)


@contextmanager
def waiting(kind: str, jobs: int) -> Iterator[tuple[Desk, list[Job]]]:
    """Run an emulator with so many running jobs of one account."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with running(kind, folder / "emulator", phase_s={"running": FOR_EVER_S}) as emulator:
            desk = make_desk(kind, folder / "project", emulator)
            yield desk, make_jobs(desk, jobs)

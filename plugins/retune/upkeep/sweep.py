"""Plans a cleanup and carries it out, looking again at each thing before it goes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete

from retune import stored
from retune.artifacts import Artifacts
from retune.settings import Settings
from retune.state import tables
from retune.state.database import Database
from retune.stored import Blob
from retune.upkeep.listing import Folder, Listing, look, trees
from retune.upkeep.mark import Plan, mark
from retune.upkeep.view import View, read

_AT_ONCE = 50


class Upkeep:
    """The cleanup of one installation.

    Args:
        settings: This installation; job folders are this host's.
        db: The state.
        artifacts: The store.
        now: The time.
    """

    def __init__(self, settings: Settings, db: Database, artifacts: Artifacts, now: datetime) -> None:
        self._settings = settings
        self._db = db
        self._artifacts = artifacts
        self._now = now
        self._trees: dict[str, tuple[str, ...]] = {}

    def plan(self) -> Plan:
        """Return what would go; nothing is changed.

        Raises:
            ArtifactError: A tree that must stay is damaged, so what it needs cannot be told.
            StateError: The state cannot be read.
        """
        # The store first: what is put and noted after this look is not in it.
        listing = look(self._settings, self._artifacts)
        with self._db.read() as tx:
            view = read(tx, self._now)
        found = self._mark(view, listing)
        return replace(found, blobs=tuple(pair for pair in found.blobs if self._is_unused(pair[0])))

    def sweep(self, plan: Plan, report: Callable[[str], None] = print) -> int:
        """Remove what a plan names and still may go; killed anywhere, the next one goes on.

        Args:
            plan: What `plan` returned.
            report: Takes a line for each part.

        Returns:
            Bytes that became free.

        Raises:
            ArtifactError: As `plan`.
            StateError: The state cannot be written.
        """
        self._forget_rows(plan)
        blobs = [blob for blob, _ in plan.blobs]
        freed = 0
        for start in range(0, len(blobs), _AT_ONCE):
            freed += self._sweep_blobs(tuple(blobs[start : start + _AT_ONCE]))
        report(f"artifacts: {freed} bytes removed")
        freed += self._sweep_folders(plan, report)
        return freed

    def _mark(self, view: View, listing: Listing) -> Plan:
        trees(self._artifacts, view.trees, self._trees)
        return mark(view, listing, self._trees, self._now)

    def _is_unused(self, blob: Blob) -> bool:
        return stored.is_unused(self._artifacts, blob, self._now)

    def _forget_rows(self, plan: Plan) -> None:
        """Take out of the state what no longer has anything in the store."""
        with self._db.write() as tx:
            again = self._mark(read(tx, self._now), Listing())
            index, subjects = tables.artifacts, tables.subjects
            for pipeline, digest in set(plan.pages) & set(again.pages):
                tx.execute(delete(index).where(index.c.pipeline == pipeline, index.c.digest == digest))
            for pipeline, digest in set(plan.datasets) & set(again.datasets):
                here = (subjects.c.pipeline == pipeline) & (subjects.c.dataset_digest == digest)
                tx.execute(delete(subjects).where(here))

    def _sweep_blobs(self, blobs: tuple[Blob, ...]) -> int:
        freed = 0
        # Within one transaction, so that nobody begins to point at one of them between look and removal.
        with self._db.write() as tx:
            again = self._mark(read(tx, self._now), Listing(blobs=blobs))
            for blob, _ in again.blobs:
                # Whoever is about to point at old bytes has written them again.
                if self._is_unused(blob) and stored.remove(self._artifacts, blob):
                    freed += blob.size
        return freed

    def _sweep_folders(self, plan: Plan, report: Callable[[str], None]) -> int:
        import fsspec

        files, _ = fsspec.url_to_fs(self._settings.captured_url)
        for folder, reason in plan.traffic:
            if files.exists(folder.path):
                files.rm(folder.path, recursive=True)
            report(f"{folder.path}: {reason}; removed")
        freed = sum(folder.size for folder, _ in plan.traffic)
        for folder, reason in self._jobs_again(plan):
            shutil.rmtree(folder.path, ignore_errors=True)
            report(f"{folder.path}: {reason}; removed")
            freed += folder.size
        return freed

    def _jobs_again(self, plan: Plan) -> tuple[tuple[Folder, str], ...]:
        """Look again: a job never starts anew once it has ended, but its model may be lost by now."""
        listing = look(self._settings, self._artifacts)
        with self._db.read() as tx:
            again = self._mark(read(tx, self._now), listing)
        planned = {folder.path for folder, _ in plan.jobs}
        return tuple(pair for pair in again.jobs if pair[0].path in planned)

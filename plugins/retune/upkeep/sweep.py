"""Plans a cleanup and carries it out, looking again at each thing before it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete

from retune import stored
from retune.artifacts import Artifacts
from retune.errors import ArtifactError
from retune.settings import Settings
from retune.state import tables
from retune.state.database import Database
from retune.stored import Blob
from retune.upkeep.listing import Listing, look, trees
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
            ArtifactError: As `plan`, or something cannot be removed.
            StateError: The state cannot be written.
        """
        try:
            freed = self._sweep_all_blobs(plan)
            report(f"artifacts: {freed} bytes removed")
            # After their bytes: as long as those are stored, `retune forget` must find them.
            self._forget_rows(plan)
            return freed + self._sweep_folders(plan, report)
        except OSError as error:
            raise ArtifactError(
                f"not all that may go could be removed: {error}",
                "mend the permissions or the disk, then run it again",
            ) from error

    def _mark(self, view: View, listing: Listing) -> Plan:
        trees(self._artifacts, view.trees, self._trees)
        return mark(view, listing, self._trees, self._now)

    def _is_unused(self, blob: Blob) -> bool:
        return stored.is_unused(self._artifacts, blob, self._now)

    def _forget_rows(self, plan: Plan) -> None:
        """Take out of the state what no longer has anything in the store."""
        if not plan.pages and not plan.datasets:
            return
        index, subjects = tables.artifacts, tables.subjects
        with self._db.write() as tx:
            again = self._mark(read(tx, self._now), Listing())
            for pipeline, digest in set(plan.pages) & set(again.pages):
                if not self._artifacts.exists(digest):
                    tx.execute(delete(index).where(index.c.pipeline == pipeline, index.c.digest == digest))
            for pipeline, digest in set(plan.datasets) & set(again.datasets):
                here = (subjects.c.pipeline == pipeline) & (subjects.c.dataset_digest == digest)
                tx.execute(delete(subjects).where(here))

    def _sweep_all_blobs(self, plan: Plan) -> int:
        blobs = tuple(blob for blob, _ in plan.blobs)
        return sum(
            self._sweep_blobs(blobs[start : start + _AT_ONCE]) for start in range(0, len(blobs), _AT_ONCE)
        )

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
        for day, reason in plan.traffic:
            with suppress(FileNotFoundError):
                files.rm(day.path, recursive=True)
            report(f"{day.path}: {reason}; removed")
        again = self._local_again(plan)
        for path, _, reason in again:
            stored.remove_local(path)
            report(f"{path}: {reason}; removed")
        return sum(folder.size for folder, _ in plan.traffic) + sum(size for _, size, _ in again)

    def _local_again(self, plan: Plan) -> list[tuple[Path, int, str]]:
        """Look again: a model may be lost by now, and a killed process may have been a slow one."""
        listing = look(self._settings, self._artifacts)
        with self._db.read() as tx:
            again = self._mark(read(tx, self._now), listing)
        planned = {folder.path for folder, _ in (*plan.jobs, *plan.answers)}
        planned |= {str(one.path) for one, _ in plan.scratch}
        found = [
            *((Path(one.path), one.size, reason) for one, reason in (*again.jobs, *again.answers)),
            *((one.path, one.size, reason) for one, reason in again.scratch),
        ]
        return [entry for entry in found if str(entry[0]) in planned]

"""From a selection to a registered dataset: files, figures, card and record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retune.artifacts import Artifacts, canonical_json
from retune.data.attributes import attribute_lines
from retune.data.card import card
from retune.data.collect import Tally
from retune.data.figures import SIDES, Found, describe
from retune.data.selection import LEFT_OUT, History, Selection
from retune.data.spool import Spool, no_room
from retune.data.token_totals import TokenTotal, total_tokens
from retune.errors import DataError, StateError
from retune.records import Artifact, Dataset, Split
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import artifacts_index, dataset_records, held_out, splits, subjects
from retune.state.database import Database, serialise
from retune.text.tokens import counter_for

if TYPE_CHECKING:
    import polars as pl

JSONL, JSON, HTML = "application/jsonl", "application/json", "text/html"


@dataclass(frozen=True)
class Judged:
    """What Great Expectations said.

    Attributes:
        page: Its page.
        warnings: What it warned of.
    """

    page: Artifact
    warnings: list[str]


@dataclass(frozen=True)
class Publisher:
    """Stores what a preparation made.

    Attributes:
        spec: The frozen spec.
        settings: Where the project lies.
        db: Keeps splits, registry, dataset and the index of pages.
        artifacts: Takes the files.
        now: When.
        folder: For files on their way.
    """

    spec: PipelineSpec
    settings: Settings
    db: Database
    artifacts: Artifacts
    now: datetime
    folder: Path

    def put_page(self, kind: str, data: bytes, media_type: str) -> Artifact:
        """Store a page and note whose it is, so that Airflow may serve it."""
        page = self.artifacts.put_bytes(data, media_type)
        with self.db.write() as tx:
            artifacts_index.add(tx, self.spec.pipeline, kind, page, self.now)
        return page

    def publish(
        self,
        tally: Tally,
        selection: Selection,
        history: History,
        spool: Spool,
        judged: Judged,
        traffic: list[str],
    ) -> Dataset:
        """Store the three sides, what was left out, and the card; register the dataset.

        Raises:
            DataError: A side has no example.
            StateError: Another run has settled more meanwhile.
        """
        sides = self._sides(selection, spool)
        tokens = self._tokens(selection.examples, spool)
        found = self._found(tally, selection, judged, sides["held_out"], tokens, traffic)
        figures = describe(selection.examples, selection.drops, spool, self.spec, found)
        dataset = Dataset(
            spec_digest=self.spec.digest,
            pipeline=self.spec.pipeline,
            digest=self._manifest(sides),
            train=sides["train"],
            validation=sides["validation"],
            held_out=sides["held_out"],
            labels=tuple(sorted(set(selection.examples["label"]) - {""})),
            sources=tally.digests,
            rows_read=tally.rows.total(),
            dropped=selection.drops.counts,
            personal=dict(tally.personal),
            tokens={total.base_model: total.tokens for total in tokens},
            warnings=tuple(judged.warnings),
            validation_page=judged.page,
            card=self.put_page("card", card(figures), HTML),
            figures=self.put_page("figures", canonical_json(figures), JSON),
            dropped_rows=self._put_lines(selection.drops.lines(spool)),
        )
        self._register(dataset, selection, history)
        return dataset

    def _sides(self, selection: Selection, spool: Spool) -> dict[str, Split]:
        examples = selection.examples
        parts = {side: examples.filter(examples["side"] == side) for side in SIDES}
        empty = [side for side in SIDES if not parts[side].height]
        if empty:
            what = f"no example of {examples.height:,} for {' and '.join(empty)}"
            if selection.near_pairs:
                what += f": {selection.near_pairs:,} pairs are so similar that they must share a side"
            raise DataError(
                what, "add rows; where all prompts are one template, raise data.split.leak_similarity"
            )
        return {
            side: Split(
                artifact=self._put_lines(spool.lines(part)),
                rows=part.height,
                attributes=self._attributes(side, part),
            )
            for side, part in parts.items()
        }

    def _attributes(self, side: str, part: pl.DataFrame) -> Artifact | None:
        """Store what a judged side's examples belong to, where the spec says that they do."""
        if side == "train" or not (self.spec.data.split.group_by or self.spec.slice_columns):
            return None
        return self._put_lines(attribute_lines(part, self.spec.pipeline))

    def _tokens(self, examples: pl.DataFrame, spool: Spool) -> list[TokenTotal]:
        """Count the training side's tokens, once a base model."""
        train = examples.filter(examples["side"] == "train")
        project, seed = self.settings.project, self.spec.seed
        return [
            total_tokens(base, window, counter_for(base, project), train, spool, seed)
            for base, window in self.spec.windows.items()
        ]

    def _found(
        self,
        tally: Tally,
        selection: Selection,
        judged: Judged,
        held: Split,
        tokens: list[TokenTotal],
        traffic: list[str],
    ) -> Found:
        with self.db.read() as tx:
            uses = held_out.uses(tx, self.spec.pipeline, held.artifact.digest)
        return Found(
            rows_read=dict(tally.rows),
            personal=tally.personal,
            cleaned=tally.cleaned,
            label_errors=selection.label_errors,
            judged=selection.judged,
            near_pairs=selection.near_pairs,
            tokens=tokens,
            traffic=traffic,
            warnings=judged.warnings,
            held_out_uses=uses,
        )

    def _manifest(self, sides: dict[str, Split]) -> str:
        """Store what the dataset consists of; the manifest's digest names the dataset."""
        parts = {side: {"digest": split.artifact.digest, "rows": split.rows} for side, split in sides.items()}
        return self.artifacts.put_bytes(canonical_json(parts), JSON).digest

    def _put_lines(self, lines: Iterable[bytes]) -> Artifact:
        """Store a file that need not fit into memory; raises DataError where the disk is full."""
        path = self.folder / "lines.jsonl"
        try:
            with path.open("wb") as file:
                file.writelines(lines)
        except OSError as error:
            raise no_room(self.folder, error) from error
        artifact = self.artifacts.put_file(path, JSONL)
        path.unlink()
        return artifact

    def _register(self, dataset: Dataset, selection: Selection, history: History) -> None:
        """Note all in one transaction: who may be trained on, who was held out, and whom it is about."""
        examples, pipeline = selection.examples, dataset.pipeline
        names = dict(examples.select("fingerprint", "side").iter_rows())
        for name, reason in selection.drops.names(LEFT_OUT):
            if name not in history.sides:
                names.setdefault(name, reason)
        with self.db.write() as tx:
            serialise(tx, "rows")
            if held_out.known(tx, pipeline).keys() - history.held_out.keys() - selection.held_out.keys():
                raise StateError(
                    f"another run of {pipeline} has held out more rows while these were prepared",
                    "run the task again: it looks for copies of them then",
                )
            splits.assign(tx, pipeline, names, self.now)
            held_out.register(tx, pipeline, selection.held_out, self.now)
            dataset_records.add(tx, dataset, self.now)
            subjects.add_reached(
                tx,
                pipeline,
                dataset.digest,
                examples.select("subject", "id").filter(examples["subject"] != "").iter_rows(),
            )
            for split in (dataset.validation, dataset.held_out):
                if split.attributes:
                    # The record of a dataset that was known before may name others, or none.
                    artifacts_index.add(tx, pipeline, "attributes", split.attributes, self.now)
            if dataset.dropped_rows:
                artifacts_index.add(tx, pipeline, "dropped", dataset.dropped_rows, self.now)

"""What is asked: a side of the pipeline's newest dataset, or rows of a file in the spec's format."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from retune.artifacts import Artifacts
from retune.data import cleaning
from retune.data.attributes import attribute_lines
from retune.data.collect import collect
from retune.data.drops import Drops
from retune.data.intake import Plan
from retune.data.requirements import flaws
from retune.data.selection import examples_of
from retune.data.sources import find_sources
from retune.data.spool import Spool
from retune.errors import DataError
from retune.records import Attributes, Dataset, Split
from retune.settings import EnvironmentFileSystems, Settings
from retune.spec import PipelineSpec
from retune.state import dataset_records, held_out, subjects
from retune.state.database import Database
from retune.state.replaced import open_artifacts
from retune.text.conversations import Conversation, read_conversations, write_conversations

Report = Callable[[str], None]
AskedSet = Literal["held_out", "validation"]
_LINES = "application/jsonl"


@dataclass(frozen=True)
class Questions:
    """A set of examples in a store of its own, which goes with the command.

    Attributes:
        set_name: Which side it is, or stands for.
        split: The examples.
        labels: The classes that an answer may name.
        dataset: The pipeline's newest dataset; None where none is prepared.
        artifacts: Has the examples, and takes outcomes.
        held_out: Digest of the held-out set of which examples are asked; empty where none are.
        said: Where the examples come from, for people.
    """

    set_name: AskedSet
    split: Split
    labels: tuple[str, ...]
    dataset: Dataset | None
    artifacts: Artifacts = field(repr=False)
    held_out: str
    said: str

    def beginnings(self, seed: int, first: int = 50) -> list[Split]:
        """Return growing parts in an order that a seed decides, each twice the last; the whole at the end.

        Examples of one group stay together. The first part has a group of the largest size: that size
        decides the bets, and one and the same bettor must stand behind every look.

        Args:
            seed: The spec's.
            first: Least examples of the first part.
        """
        groups: dict[str, list[Conversation]] = {}
        belongs = self._attributes()
        for example in read_conversations(self.artifacts.get_bytes(self.split.artifact.digest)):
            one = belongs.get(example.id)
            groups.setdefault((one.group if one else "") or example.id, []).append(example)
        names = sorted(groups)
        random.Random(seed).shuffle(names)
        largest, met = max(map(len, groups.values()), default=0), 0
        parts, rows, wanted = [], list[Conversation](), first
        for name in names:
            rows += groups[name]
            met = max(met, len(groups[name]))
            if met == largest and len(rows) >= wanted:
                parts.append(self._part(rows))
                wanted = 2 * len(rows)
        if not parts or parts[-1].rows < len(rows):
            parts.append(self._part(rows))
        return parts

    def _part(self, rows: list[Conversation]) -> Split:
        stored = self.artifacts.put_bytes(write_conversations(rows), _LINES)
        return Split(artifact=stored, rows=len(rows), attributes=self.split.attributes)

    def _attributes(self) -> dict[str, Attributes]:
        if self.split.attributes is None:
            return {}
        lines = self.artifacts.get_bytes(self.split.attributes.digest).splitlines()
        found = [Attributes.model_validate_json(line) for line in lines]
        return {one.id: one for one in found}


def known_state(settings: Settings) -> Database | None:
    """Return the state; None where there is none yet.

    Raises:
        StateError: It cannot be read.
    """
    db = Database(settings.state_url)
    url = db.engine.url
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists()):
        return None
    db.check()
    return db


def open_questions(
    spec: PipelineSpec,
    rows: Path | None,
    set_name: AskedSet,
    *,
    settings: Settings,
    db: Database | None,
    folder: Path,
    report: Report,
) -> Questions:
    """Return what is asked, copied into a store below `folder`.

    Args:
        spec: The pipeline's.
        rows: A file of rows; None: a side of the newest dataset.
        set_name: Which side; of a file what it stands for.
        settings: This installation.
        db: The state; None where there is none.
        folder: A folder that goes with the command.
        report: Takes lines on rows that are left out.

    Raises:
        DataError: Nothing is prepared, or the file's rows cannot be used.
        ArtifactError: The dataset is not in the store.
    """
    artifacts = Artifacts((folder / "artifacts").as_uri())
    dataset, original = _newest(spec, settings, db, artifacts)
    if rows is None:
        if dataset is None:
            raise DataError(
                f"no dataset of {spec.pipeline} is prepared here",
                "run its tune DAG, or name a file of rows with --rows",
            )
        split = getattr(dataset, set_name)
        held = original if set_name == "held_out" else ""
        said = f"the {set_name.replace('_', '-')} side of {spec.pipeline}'s newest dataset"
        labels = dataset.labels
    else:
        split, found = _of_file(rows, spec, settings, db, artifacts, folder, report)
        held = original if _was_held_out(split, spec, db, artifacts) else ""
        said = f"{split.rows:,} rows of {rows}"
        labels = tuple(sorted({*spec.task.labels, *(dataset.labels if dataset else ()), *found}))
    return Questions(set_name, split, labels, dataset, artifacts, held, said)


def note_use(
    questions: Questions,
    spec: PipelineSpec,
    db: Database | None,
    used_by: str,
    names: list[str],
    now: datetime,
) -> int:
    """Note in the state that held-out examples are about to be asked.

    Args:
        questions: What is asked.
        spec: The pipeline's.
        db: The state; None where there is none.
        used_by: This run.
        names: Who answers.
        now: When.

    Returns:
        How many runs have used the set, this one counted; 0 where no held-out example is asked.
    """
    if db is None or not questions.held_out:
        return 0
    with db.write() as tx:
        for name in names:
            held_out.use(tx, spec.pipeline, questions.held_out, used_by, name, now)
        return held_out.uses(tx, spec.pipeline, questions.held_out)


def _newest(
    spec: PipelineSpec, settings: Settings, db: Database | None, artifacts: Artifacts
) -> tuple[Dataset | None, str]:
    """Return the newest dataset, its sides copied, and the digest under which uses of it are noted.

    Erased sides are led on to what replaced them; uses go on under the first digest.
    """
    if db is None:
        return None, ""
    with db.read() as tx:
        dataset = dataset_records.latest(tx, spec.pipeline)
    if dataset is None:
        return None, ""
    stored = open_artifacts(settings, db)

    def copied(split: Split) -> Split:
        data = stored.get_bytes(split.artifact.digest)
        attributes = split.attributes
        if attributes is not None:
            attributes = artifacts.put_bytes(stored.get_bytes(attributes.digest), _LINES)
        artifact = artifacts.put_bytes(data, _LINES)
        return Split(artifact=artifact, rows=data.count(b"\n"), attributes=attributes)

    sides = {side: copied(getattr(dataset, side)) for side in ("train", "validation", "held_out")}
    return dataset.model_copy(update=sides), dataset.held_out.artifact.digest


def _of_file(
    path: Path,
    spec: PipelineSpec,
    settings: Settings,
    db: Database | None,
    artifacts: Artifacts,
    folder: Path,
    report: Report,
) -> tuple[Split, set[str]]:
    """Read a file as the data stage does: cleaned, free of personal data, without copies."""
    forgotten = frozenset[str]()
    if db is not None:
        with db.read() as tx:
            forgotten = frozenset(subjects.forgotten(tx))
    sources = find_sources((str(path.resolve()),), settings, EnvironmentFileSystems())
    collected = collect(sources, Plan(spec, folder / "spool", forgotten=forgotten), lambda line: None)
    if problems := flaws(collected):
        raise DataError(problems)
    drops = Drops()
    examples = examples_of(collected.rows, drops)
    examples = cleaning.drop_duplicates(cleaning.drop_unlisted(examples, spec.task.labels, drops), drops)
    for reason, count in drops.counts.items():
        if count:
            report(f"{count:,} rows left out: {reason.replace('_', ' ')}")
    if not examples.height:
        raise DataError(f"{path} holds no example of {spec.pipeline}", "see why its rows are left out")
    with closing(Spool(folder / "spool")) as spool:
        stored = artifacts.put_bytes(b"".join(spool.lines(examples)), _LINES)
    attributes = None
    if spec.data.split.group_by or spec.slice_columns:
        attributes = artifacts.put_bytes(b"".join(attribute_lines(examples, spec.pipeline)), _LINES)
    return Split(artifact=stored, rows=examples.height, attributes=attributes), set(examples["label"]) - {""}


def _was_held_out(split: Split, spec: PipelineSpec, db: Database | None, artifacts: Artifacts) -> bool:
    """Say whether a file has rows that were ever held out."""
    if db is None:
        return False
    with db.read() as tx:
        known = held_out.known(tx, spec.pipeline).keys()
    rows = read_conversations(artifacts.get_bytes(split.artifact.digest))
    return any(row.fingerprint in known for row in rows)

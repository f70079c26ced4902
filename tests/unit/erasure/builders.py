"""An installation in which a person's rows went all the way: dataset, job, model, release, pages, traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec

from retune.artifacts import Artifacts, canonical_json, digest_of
from retune.erasure.erase import erase
from retune.erasure.plan import Erasure, plan
from retune.evaluation.evaluate import summarise
from retune.records import (
    Artifact,
    Contender,
    Dataset,
    Decision,
    EvalReport,
    Exchange,
    JobStatus,
    Model,
    Outcome,
    Release,
    Split,
    Verdict,
)
from retune.serving import rollout
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import artifacts_index, dataset_records, jobs, releases, specs, subjects
from retune.state.database import Database
from retune.state.replaced import open_artifacts
from retune.state.subjects import subject_hash
from retune.text.conversations import Conversation, conversation, write_conversations
from retune.text.traffic import dump, exchange_path

NOW = datetime.now(UTC)
ANN = "ann@example.com"
SECRET = "the heirloom"
SIDES = ("train", "validation", "held_out")
LABELS = ("billing", "shipping")
Rows = dict[str, list[Conversation]]


def spec(**changed: object) -> PipelineSpec:
    """A pipeline that says whom its rows are about."""
    body = {
        "version": 1,
        "pipeline": "tickets",
        "data": {
            "sources": ["rows.jsonl"],
            "columns": {"prompt": "text", "completion": "queue", "subject": "who"},
        },
        "recipes": [{"base_model": "base"}],
        "evaluation": {"endpoint": "vllm"},
        "deploy": {"endpoint": "vllm", "alias": "tickets"},
        "watch": {"min_requests": 20},
    }
    return PipelineSpec.model_validate(body | changed)


def hers(side: str) -> Conversation:
    """Ann's row on a side."""
    return conversation("", f"Ann asks after {SECRET} for {side}", "shipping")


def rows(with_hers: Sequence[str] = SIDES, count: int = 6, salt: str = "") -> Rows:
    """Rows of three sides; Ann's are on those that are named."""
    others = {
        side: [
            conversation("", f"{salt}{side} {number}: where is my parcel?", LABELS[number % 2])
            for number in range(count)
        ]
        for side in SIDES
    }
    return {side: [*others[side], *([hers(side)] if side in with_hers else [])] for side in SIDES}


@dataclass
class Installed:
    """An installation on a local disk."""

    settings: Settings
    db: Database
    artifacts: Artifacts
    spec: PipelineSpec = field(default_factory=spec)

    def dataset(
        self, some: Rows, at: datetime = NOW, about: Iterable[Conversation] = (), pipeline: str = "tickets"
    ) -> Dataset:
        """Register a dataset, as the data stage does."""
        page = self.page(f"validation of {sorted(some)} {at}", "validation", at, pipeline)
        splits = {
            side: Split(
                artifact=self.artifacts.put_bytes(write_conversations(some[side]), "application/jsonl"),
                rows=len(some[side]),
            )
            for side in SIDES
        }
        parts = {
            side: {"digest": split.artifact.digest, "rows": split.rows} for side, split in splits.items()
        }
        found = Dataset(
            spec_digest=self.spec.digest,
            pipeline=pipeline,
            digest=self.artifacts.put_bytes(canonical_json(parts), "application/json").digest,
            **splits,
            labels=LABELS,
            sources={},
            rows_read=20,
            dropped={},
            validation_page=page,
        )
        reached = [(subject_hash(ANN), row.id) for row in about]
        with self.db.write() as tx:
            subjects.add_reached(tx, pipeline, found.digest, reached)
            dataset_records.add(tx, found, at)
        return found

    def page(self, text: str, kind: str, at: datetime = NOW, pipeline: str = "tickets") -> Artifact:
        """Keep a page."""
        stored = self.artifacts.put_bytes(f"<p>{text} {SECRET}</p>".encode(), "text/html")
        with self.db.write() as tx:
            artifacts_index.add(tx, pipeline, kind, stored, at)
        return stored

    def model(self, dataset: Dataset, name: str, at: datetime = NOW) -> Model:
        """Train, so to speak: a job with its folder, which ended with a stored model."""
        folder = self.settings.jobs / f"job-{name}"
        for side in SIDES[:2]:
            data = folder / "data" / f"{side}.jsonl"
            data.parent.mkdir(parents=True, exist_ok=True)
            data.write_bytes(self.artifacts.get_bytes(getattr(dataset, side).artifact.digest))
        weights = folder / "model"
        weights.mkdir(exist_ok=True)
        (weights / "adapter.safetensors").write_bytes(f"\x08\0\0 weights of {name}".encode())
        (weights / "adapter_config.json").write_text('{"base_model_name_or_path": "base", "r": 4}')
        tree = self.artifacts.put_tree(weights)
        model = Model(
            spec_digest=self.spec.digest,
            kind="adapter",
            digest=tree.digest,
            uri=tree.uri,
            base_model="base",
            base_digest=digest_of(b"base"),
            job_key=f"job-{name}",
            recipe_index=0,
            seconds=1,
        )
        with self.db.write() as tx:
            intent = {"dataset": dataset.digest}
            jobs.intend(tx, model.job_key, dataset.pipeline, "local", 1, intent, at)
            jobs.finished(tx, model.job_key, JobStatus.SUCCEEDED, model, "", at)
        return model

    def report(self, name: str, dataset: Dataset, model: str, at: datetime = NOW) -> EvalReport:
        """Let a contender answer the held-out set."""
        data = self.artifacts.get_bytes(dataset.held_out.artifact.digest)
        found = [answer(row) for row in read(data)]
        contender = Contender(spec_digest=self.spec.digest, name=name, model_name=model, model_digest=model)
        made = summarise(
            contender,
            dataset.held_out,
            "held_out",
            found,
            spec=self.spec,
            artifacts=self.artifacts,
            elapsed_s=1.0,
        )
        with self.db.write() as tx:
            artifacts_index.add(tx, dataset.pipeline, "outcomes", made.outcomes, at)
        return made

    def release(self, dataset: Dataset, name: str, at: datetime = NOW) -> Release:
        """Train, judge and release."""
        model = self.model(dataset, name, at)
        candidate = self.report("candidate", dataset, model.digest, at)
        decision = Decision(
            spec_digest=self.spec.digest,
            verdict=Verdict.PROMOTE,
            reason="better",
            checks=(),
            candidate=candidate.contender,
            reports={"candidate": candidate},
            dataset_digest=dataset.digest,
            report=self.page(f"evaluation of {name}", "evaluation", at),
        )
        with self.db.write() as tx:
            specs.freeze(tx, self.spec, at)
            return releases.create(
                tx, "tickets", self.spec.digest, model, dataset.digest, decision, f"run {name}", at
            )

    def deploy(self, release: Release, at: datetime = NOW) -> None:
        """Lead the alias to a release."""
        rollout.deploy(release, self.spec, db=self.db, now=at)

    def capture(self, prompts: Sequence[str], at: datetime = NOW) -> str:
        """Keep captured requests, and return where."""
        exchanges = [
            Exchange(
                at=at,
                pipeline="tickets",
                alias="tickets",
                release=1,
                model_digest="sha256:0",
                prompt=prompt,
                answer="shipping",
                status=200,
                latency_ms=5,
            )
            for prompt in prompts
        ]
        files, root = fsspec.url_to_fs(self.settings.captured_url)
        path = f"{root}/{exchange_path('tickets', at, 'host', int(at.timestamp()) * 10**9)}"
        files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        files.pipe_file(path, dump(exchanges))
        return path


def answer(row: Conversation) -> Outcome:
    """A right answer to a row."""
    return Outcome(
        id=row.id,
        prompt=row.prompt,
        expected=row.completion,
        answer=row.completion,
        predicted=row.completion,
        correct=True,
        latency_s=0.01,
    )


def read(data: bytes) -> list[Conversation]:
    """Read a canonical file."""
    from retune.text.conversations import read_conversations

    return read_conversations(data)


def install(folder: Path) -> Installed:
    """Make an installation; opening one that is there changes nothing."""
    settings = Settings.load({"project": str(folder)}.get)
    db = Database(settings.state_url)
    db.migrate()
    return Installed(settings, db, open_artifacts(settings, db))


def lived(here: Installed) -> tuple[Dataset, Release]:
    """Let Ann's rows reach everything; release 1 is live."""
    start = NOW - timedelta(hours=3)
    some = rows()
    dataset = here.dataset(some, start, [hers(side) for side in SIDES])
    release = here.release(dataset, "first", start)
    here.deploy(release, start)
    here.page("card", "card", start)
    here.capture([f"request {number}" for number in range(5)] + [f"  Ann asks after {SECRET}  for train "])
    checked = here.settings.home / "checks" / "tickets.html"
    checked.parent.mkdir(parents=True, exist_ok=True)
    checked.write_text(SECRET)
    return dataset, release


def everywhere(home: Path) -> list[Path]:
    """Return the files of an installation in which Ann's words stand."""
    return [
        path for path in sorted(home.rglob("*")) if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


SUBJECT = subject_hash(ANN)


def reached(here: Installed) -> Erasure:
    """Return what Ann's rows reached."""
    return plan(SUBJECT, settings=here.settings, db=here.db, artifacts=here.artifacts, now=NOW)


def forget(here: Installed) -> Erasure:
    """Forget Ann."""
    return erase(
        SUBJECT,
        "cli:me",
        settings=here.settings,
        db=here.db,
        artifacts=here.artifacts,
        now=NOW,
        report=lambda line: None,
    )

"""The Vertex AI backend before the emulator: the real SDKs, and small orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.cloud import storage
from google.oauth2.credentials import Credentials

from retune.artifacts import digest_of
from retune.backends.attempts import job_key
from retune.backends.base import Order
from retune.backends.vertex_jobs import VertexBackend
from retune.records import Dataset, Job, Recipe
from retune.settings import EnvironmentConnections, GoogleAccount
from retune.spec.recipes import VertexRecipe
from retune.testing.emulators.process import Running
from tests.contract.house import House
from tests.tuning import Bench, make_bench, make_rows, write_rows

MODEL = "gemini-2.5-flash"
OPEN_MODEL = "meta/llama3_1@llama-3.1-8b-instruct"
CANARY = "ya29.canary-3c9e1f70b8d24a6593"
PROJECT, REGION, BUCKET = "retune", "us-central1", "gs://retune-rows"
JOBS = "/v1beta1/projects/{project}/locations/{location}/tuningJobs"
CREATE, LIST, GET = f"POST {JOBS}", f"GET {JOBS}", f"GET {JOBS}/{{job}}"
FAILS: dict[str, Any] = {
    "on": CREATE,
    "do": "fail_job",
    "error": {"code": 13, "message": "The tuning job failed due to an internal error."},
}


class OneAccount(EnvironmentConnections):
    """Knows one Google project, by every name."""

    def __init__(self, account: GoogleAccount) -> None:
        self._account = account

    def google(self, name: str) -> GoogleAccount:
        return self._account


@dataclass(frozen=True)
class Desk:
    """An installation whose Google project is an emulator."""

    bench: Bench
    emulator: Running
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    @property
    def account(self) -> GoogleAccount:
        return GoogleAccount(PROJECT, Credentials(token=CANARY), self.emulator.url)

    def backend(
        self,
        kind: type[VertexBackend] = VertexBackend,
        account: GoogleAccount | None = None,
        **place: str,
    ) -> VertexBackend:
        """A new instance, as another process would make it; polls at once."""
        connections = OneAccount(account or self.account)
        where = {"connection": "google_cloud_default", "location": REGION, "bucket": BUCKET} | place
        made = kind(replace(self.bench, connections=connections).installation, where)
        made.poll_every_s = 0.05
        return made

    def order(self, dataset: Dataset | None = None, base_model: str = MODEL, **given: Any) -> Order:
        """An order that is like no other."""
        spec = VertexRecipe(
            backend="vertex", base_model=base_model, **{"bucket": BUCKET, "epochs": 2, **given}
        )
        recipe = Recipe(
            spec_digest=digest_of(b"spec"),
            index=0,
            backend="vertex",
            base_model=base_model,
            base_digest=f"vertex:{base_model}",
            chat_template_digest="",
            method=spec.method,
            hyperparameters=spec.hyperparameters,
            seed=next(self.numbers),
            trainer="vertex",
            place=spec.place,
        )
        data = dataset or self.bench.dataset()
        return Order(job_key(data, recipe, "vertex", f"{PROJECT}/{REGION}", 1), 1, recipe, data)

    def dataset_of(self, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Dataset:
        """A dataset with these rows."""
        made = self.bench.dataset()
        splits = {}
        for side, rows in (("train", train), ("validation", validation)):
            artifact = self.bench.artifacts.put_bytes(write_rows(rows), "application/jsonl")
            splits[side] = getattr(made, side).model_copy(update={"artifact": artifact, "rows": len(rows)})
        digest = digest_of(repr((train, validation)).encode())
        return made.model_copy(update={**splits, "digest": digest})

    @property
    def storage(self) -> Any:
        """The emulator's Cloud Storage."""
        options = {"api_endpoint": self.emulator.url}
        return storage.Client(PROJECT, Credentials(token=CANARY), client_options=options)

    def make_bucket(self, name: str, **labels: str) -> None:
        """Make a bucket; the label `retune-denies` says who may not use it."""
        bucket = self.storage.bucket(name)
        bucket.labels = {key.replace("_", "-"): value for key, value in labels.items()}
        bucket.create(location=REGION)


def make_desk(project: Path, emulator: Running, settle_s: float = 120.0) -> Desk:
    """An installation in a folder before an emulator, with its bucket."""
    bench = make_bench(project)
    desk = Desk(replace(bench, settings=replace(bench.settings, settle_s=settle_s)), emulator)
    desk.make_bucket(BUCKET.removeprefix("gs://"))
    return desk


def pairs(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """Rows of preferences."""
    worse = [{"role": "assistant", "content": "I do not know"}]
    return [{**row, "rejected": worse} for row in make_rows(count, offset)]


def make_vertex_house(project: Path, emulator: Running) -> House:
    """What the shared contract tests need; the emulator should let jobs run for some seconds."""
    desk = make_desk(project, emulator)
    failing = desk.order()

    class Prepared(VertexBackend):
        """Has the emulator fail the job of one order."""

        def submit(self, order: Order, posting: Callable[[], None]) -> Job:
            emulator.set_faults([FAILS] if order.key == failing.key else [])
            return super().submit(order, posting)

    return House(
        connect=lambda: desk.backend(Prepared),
        artifacts=desk.bench.artifacts,
        good=desk.order(),
        long=desk.order(epochs=50),
        refused=desk.order(method="dpo"),  # on rows that are no pairs
        failing=failing,
    )

"""The Vertex AI backend before the emulator: the real SDKs, and small orders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from google.cloud import storage
from google.oauth2.credentials import Credentials

from retune.backends.base import Order
from retune.backends.vertex_jobs import VertexBackend
from retune.records import Dataset, Job
from retune.settings import GoogleAccount
from retune.spec.recipes import VertexRecipe
from retune.testing.emulators.process import Running
from tests.contract.desk import HostedDesk, make_settling_bench
from tests.contract.house import House

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


class Desk(HostedDesk):
    """An installation whose Google project is an emulator."""

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
        where = {"connection": "google_cloud_default", "location": REGION, "bucket": BUCKET} | place
        made = kind(self.installation_of(account or self.account), where)
        made.poll_every_s = 0.05
        return made

    def order(self, dataset: Dataset | None = None, base_model: str = MODEL, **given: Any) -> Order:
        """An order that is like no other."""
        spec = VertexRecipe(
            backend="vertex", base_model=base_model, **{"bucket": BUCKET, "epochs": 2, **given}
        )
        return self.order_of(spec, dataset, account=f"{PROJECT}/{REGION}")

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
    desk = Desk(make_settling_bench(project, settle_s), emulator)
    desk.make_bucket(BUCKET.removeprefix("gs://"))
    return desk


def submit(desk: Desk, order: Order) -> tuple[VertexBackend, Job]:
    """A new backend, and the job that it made of an order."""
    backend = desk.backend()
    return backend, backend.submit(order, lambda: None)


def shown(desk: Desk, job: Job) -> dict[str, Any]:
    """The job as the emulator has it."""
    url = f"{desk.emulator.url}/v1beta1/{job.provider_id}"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {CANARY}"}, trust_env=False)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def lines(desk: Desk, address: str) -> list[dict[str, Any]]:
    """The rows of an object in the emulator's Cloud Storage."""
    bucket, _, name = address.removeprefix("gs://").partition("/")
    data = desk.storage.bucket(bucket).blob(name).download_as_bytes()
    return [json.loads(line) for line in data.splitlines()]


def made_of(desk: Desk, order: Order) -> list[dict[str, Any]]:
    """The jobs that the emulator has of an order."""
    return desk.emulator.jobs(retune_key=order.key[:60])


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

"""An installation with a dataset before an emulator of OpenAI's or Vertex AI's API."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from retune.artifacts import Artifacts, digest_of
from retune.backends.base import Installation
from retune.backends.jobs import Site
from retune.records import Artifact, Dataset, Recipe, Split
from retune.settings import EnvironmentConnections, GoogleAccount, OpenAIAccount, Settings
from retune.spec import OpenAIRecipe, VertexRecipe
from retune.state.database import Database
from retune.testing.emulators.process import Running

# Nothing listens where MLflow would be, and no order is to wait for it.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
# Far above what a busy machine may add to the lag and to a request: a shorter wait makes twins there.
SETTLE_S = 8.0
BUCKET = "retune-rows"


class EmulatorConnections(EnvironmentConnections):
    """Every connection is the emulator's."""

    def __init__(self, url: str) -> None:
        self._url = url

    def openai(self, name: str) -> OpenAIAccount:
        return OpenAIAccount(f"{self._url}/v1", "sk-benchmark")

    def google(self, name: str) -> GoogleAccount:
        from google.oauth2.credentials import Credentials

        return GoogleAccount("retune", Credentials(token="ya29.benchmark"), self._url)

    def make_bucket(self, name: str) -> None:
        from google.cloud import storage

        account = self.google("")
        options = {"api_endpoint": self._url}
        client = storage.Client(account.project, account.credentials, client_options=options)
        client.bucket(name).create(location="us-central1")


@dataclass(frozen=True)
class Desk:
    """An installation, a dataset, and an emulator."""

    kind: str
    site: Site
    dataset: Dataset
    emulator: Running

    def recipe(self, seed: int) -> Recipe:
        """Return a recipe like no other."""
        spec: OpenAIRecipe | VertexRecipe
        if self.kind == "openai":
            spec = OpenAIRecipe(backend="openai", base_model="gpt-4.1-mini-2025-04-14")
        else:
            spec = VertexRecipe(backend="vertex", base_model="gemini-2.5-flash", bucket=f"gs://{BUCKET}")
        return Recipe(
            spec_digest=digest_of(b"spec"),
            index=0,
            backend=self.kind,
            base_model=spec.base_model,
            base_digest=f"{self.kind}:{spec.base_model}",
            chat_template_digest="",
            method="sft",
            hyperparameters=spec.hyperparameters | {"trial": seed},
            seed=seed,
            trainer=self.kind,
            place=spec.place,
        )


def make_desk(kind: str, folder: Path, emulator: Running) -> Desk:
    """Make an installation in a folder, before an emulator."""
    settings = Settings.load(
        {"project": str(folder), "settle_s": str(SETTLE_S), "mlflow_uri": "http://127.0.0.1:1"}.get
    )
    db, artifacts = Database(settings.state_url), Artifacts(settings.artifacts_url)
    db.migrate()
    db.engine.dispose()  # a fork must not share a connection
    sides = {}
    for number, side in enumerate(("train", "validation", "held_out")):
        rows = "".join(
            f'{{"id": "{number}-{row}", "messages": [{{"role": "user", "content": "ticket {number} {row}"}},'
            f' {{"role": "assistant", "content": "billing"}}]}}\n'
            for row in range(12)
        )
        sides[side] = Split(artifact=artifacts.put_bytes(rows.encode(), "application/jsonl"), rows=12)
    dataset = Dataset(
        spec_digest=digest_of(b"spec"),
        pipeline="tickets",
        digest=digest_of(kind.encode()),
        sources={},
        rows_read=36,
        dropped={},
        validation_page=Artifact(digest=digest_of(b"page"), uri="file:///page", size=4),
        **sides,
    )
    connections = EmulatorConnections(emulator.url)
    if kind == "vertex":
        connections.make_bucket(BUCKET)
    site = Site(Installation(settings, artifacts, connections), db, lambda _: None)
    return Desk(kind, site, dataset, emulator)

"""The disk fills while rows are prepared."""

from __future__ import annotations

import json
import random
import subprocess
import sys

from retune.state import dataset_records
from tests.unit.data.conftest import Project, project

__all__ = ["project"]

# Refuses to write beyond 300 kB of a file, which the rows need and no page does.
PREPARE = """
import json, resource, signal, sys
from datetime import UTC, datetime
from retune.artifacts import Artifacts
from retune.data.prepare import prepare
from retune.errors import RetuneError
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state.database import Database

spec, options = json.load(sys.stdin)
settings = Settings.load(options.get)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    prepare(
        PipelineSpec.from_json(spec),
        settings=settings,
        db=Database(settings.state_url),
        artifacts=Artifacts(settings.artifacts_url),
        now=datetime.now(UTC),
        report=lambda line: None,
    )
except RetuneError as error:
    print(json.dumps([type(error).__name__, [problem.what for problem in error.problems]]))
"""


def test_one_clear_error_and_nothing_half_written(project: Project) -> None:
    queues = ("billing", "shipping", "returns", "account")
    rng, words = random.Random(1), [f"{number:x}" for number in range(1000, 6000)]
    project.rows([{"text": " ".join(rng.choices(words, k=400)), "queue": queues[n % 4]} for n in range(400)])
    options = {"project": str(project.root), "home": str(project.settings.home)}
    said = subprocess.check_output(
        [sys.executable, "-c", PREPARE], input=json.dumps([project.spec().to_json(), options]), text=True
    )
    kind, problems = json.loads(said)
    assert kind == "DataError"
    assert len(problems) == 1 and "cannot keep the rows in" in problems[0] and "File too large" in problems[0]
    assert not [*project.settings.home.rglob("*.partial"), *project.settings.home.glob("prepare-*")]
    with project.db.read() as tx:
        assert dataset_records.latest(tx, "tickets") is None
    # With room again, the same call makes the dataset.
    dataset = project.prepare()
    assert dataset.train.artifact.size > 300_000

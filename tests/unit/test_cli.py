from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune import __version__
from retune.artifacts import Artifacts
from retune.cli import app, main
from retune.data.prepare import prepare
from retune.records import Job, JobStatus, Recipe
from retune.settings import Settings
from retune.spec import load_spec
from retune.state import jobs as job_rows
from retune.state import spending
from retune.state.database import Database
from retune.text.conversations import read_conversations
from retune.training.job import JobFolder

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
SPEC = """\
version: 1
pipeline: tickets
data:
  sources: [rows.jsonl]
  columns: {prompt: text, completion: queue}
  expectations: suite.json
  min_examples: 30
recipes: [{base_model: base}]
evaluation: {endpoint: vllm}
deploy: {endpoint: vllm, alias: tickets}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one sound pipeline, and no Airflow."""
    folder = tmp_path / "include" / "pipelines"
    folder.mkdir(parents=True)
    (folder / "tickets.yaml").write_text(SPEC)
    rows = [{"text": f"ticket {n}", "queue": "billing" if n % 2 else "shipping"} for n in range(60)]
    rows += [{"text": "", "queue": "billing"}, rows[0]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.json").write_text('{"expectations": []}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETUNE_PROJECT", str(tmp_path))
    monkeypatch.setenv("RETUNE_HOME", str(tmp_path / ".retune"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return tmp_path


def retune(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["retune", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_check_shows_what_would_be_trained_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "check", "include/pipelines/tickets.yaml") == 0
    said = capfd.readouterr().out
    cells = {
        tuple(part.strip() for part in line.split("│")[1:-1]) for line in said.splitlines() if "│" in line
    }
    shown = {row[:2] for row in cells}
    assert {("read", "62"), ("dropped: empty", "1"), ("dropped: duplicate", "1")} <= shown
    assert {row[0] for row in cells} >= {"billing", "shipping", "train", "validation", "held-out"}
    assert "tickets can run" in said
    pages = {page.name: page.read_text() for page in (project / ".retune" / "checks").iterdir()}
    assert "Great Expectations" in pages["tickets-validation.html"]
    assert "a copy of another row" in pages["tickets-card.html"]
    assert not (project / ".retune" / "state.db").exists(), "a check left something in the state"


def test_check_lists_all_problems_without_a_traceback(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = project / "bad.yaml"
    bad.write_text(SPEC.replace("version: 1", "version: 2").replace("rows.jsonl", "rows.jsonl, 7"))
    assert retune(monkeypatch, "check", "bad.yaml") == 1
    said = capfd.readouterr().err
    assert "bad.yaml:1: version" in said and "bad.yaml:4: data.sources.1" in said
    assert "Traceback" not in said


def test_check_says_which_rows_are_bad(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with (project / "rows.jsonl").open("a") as rows:
        rows.write("{broken\n")
    assert retune(monkeypatch, "check", "include/pipelines/tickets.yaml") == 1
    assert "rows.jsonl:63" in capfd.readouterr().err


def test_migrate_makes_the_stores_and_status_reads_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "status") == 1
    assert "run `retune migrate`" in capfd.readouterr().err
    for _ in range(2):
        assert retune(monkeypatch, "migrate") == 0
    assert retune(monkeypatch, "status") == 0
    assert "No pipeline has run yet" in capfd.readouterr().out
    assert not (project / "airflow").exists(), "Airflow was asked where it is not in use"


def test_rollback_without_a_release_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Database(Settings.load().state_url).migrate()
    assert retune(monkeypatch, "rollback", "tickets") == 1
    assert "tickets has no release" in capfd.readouterr().err


def test_no_project_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RETUNE_PROJECT")
    monkeypatch.chdir(tmp_path)
    assert retune(monkeypatch, "status") == 1
    assert "set RETUNE_PROJECT" in capfd.readouterr().err


def test_schema_writes_the_schema(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert retune(monkeypatch, "schema") == 0
    assert (project / "docs/spec.schema.json").read_bytes() == (ROOT / "docs/spec.schema.json").read_bytes()


def test_every_command_has_help_and_a_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = [(command, "") for command in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance
        commands += [(command, f"{group.name} ") for command in group.typer_instance.registered_commands]
    names = {
        prefix + (command.name or command.callback.__name__)
        for command, prefix in commands
        if command.callback
    }
    wanted = "check init cleanup doctor forget migrate serve agent status rollback demo e2e schema version"
    wanted += " spending emulate evaluate compare"
    jobs = {f"jobs {verb}" for verb in ("list", "cancel", "pause", "resume")}
    assert names == {*wanted.split(), *jobs}
    assert retune(monkeypatch, "version") == 0
    assert capfd.readouterr().out.strip() == __version__
    assert all((command.callback.__doc__ or "").strip() for command, _ in commands if command.callback)


def test_the_installed_command_starts_light() -> None:
    """`retune --help` loads no heavy library."""
    command = shutil.which("retune", path=str(Path(sys.executable).parent))
    assert command, "the project is not installed: make setup"
    program = (
        "import sys; import retune.cli; heavy = {'torch', 'pandas', 'mlflow', 'openai', 'airflow', 'sklearn',"
        "'great_expectations', 'evidently', 'transformers'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert subprocess.run([command, "--help"], capture_output=True).returncode == 0


def test_check_knows_what_is_settled_and_leaves_it_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings, file = Settings.load(), project / "include" / "pipelines" / "tickets.yaml"
    db, artifacts = Database(settings.state_url), Artifacts(settings.artifacts_url)
    db.migrate()
    dataset = prepare(load_spec(file), settings=settings, db=db, artifacts=artifacts, now=NOW)
    kept = read_conversations(artifacts.get_bytes(dataset.held_out.artifact.digest))
    db.engine.dispose()
    before = Path(project, ".retune", "state.db").read_bytes()
    capfd.readouterr()
    # What was held out is never trained on, so with it alone nothing is left for that.
    rows = [{"text": row.prompt, "queue": row.completion} for row in kept]
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(SPEC.replace("min_examples: 30", "min_examples: 10"))
    assert retune(monkeypatch, "check", str(file)) == 1
    assert f"no example of {len(kept)} for train and validation" in capfd.readouterr().err
    assert Path(project, ".retune", "state.db").read_bytes() == before


def test_check_does_not_take_a_state_that_cannot_be_read_for_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / ".retune").mkdir()
    (project / ".retune" / "state.db").write_bytes(b"no database" * 100)
    assert retune(monkeypatch, "check", "include/pipelines/tickets.yaml") == 1
    said = capfd.readouterr()
    assert "state.db" in said.err and "can run" not in said.out


def test_check_names_what_is_wrong_with_the_projects_prices(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "include" / "prices.yaml").write_text("version: 1\nbackends:\n  openai: {modells: {}}\n")
    assert retune(monkeypatch, "check", "include/pipelines/tickets.yaml") == 1
    said = capfd.readouterr().err
    assert "prices.yaml:3: unknown key 'backends.openai.modells'" in said and "Traceback" not in said


def test_spending_shows_this_month(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "spending") == 1
    assert "run `retune migrate`" in capfd.readouterr().err
    db, now = Database(Settings.load().state_url), datetime.now(UTC)
    db.migrate()
    with db.write() as tx:
        spending.reserve(tx, "a", "tickets", 12.5, now)
    assert retune(monkeypatch, "spending") == 0
    said = capfd.readouterr().out
    assert f"{now:%B %Y}" in said and "12.50 USD" in said


@pytest.fixture
def jobs(project: Path) -> tuple[Job, Job]:
    """The handles of a local job that is open and of one that failed; a third has no handle."""
    settings = Settings.load()
    db = Database(settings.state_url)
    db.migrate()
    recipe = make_recipe()
    found = []
    with db.write() as tx:
        for key in ("aa11" * 16, "aa22" * 16, "bb33" * 16):
            job_rows.intend(tx, key, "tickets", "local", 1, {"recipe": recipe.to_json()}, NOW)
            JobFolder(settings.jobs / key).path.mkdir(parents=True)
            job = Job(
                spec_digest=recipe.spec_digest,
                key=key,
                backend="local",
                attempt=1,
                provider_id=f":{key}",
                url=f"file:///jobs/{key[:4]}",
            )
            if key[0] == "a":
                found.append(job_rows.submitted(tx, key, job))
        job_rows.finished(tx, found[1].key, JobStatus.FAILED, None, "no [memory]", NOW)
    db.engine.dispose()
    return found[0], found[1]


def make_recipe() -> Recipe:
    digest = "sha256:" + "0" * 64
    return Recipe(
        spec_digest=digest,
        index=1,
        backend="local",
        base_model="some/model",
        base_digest=digest,
        chat_template_digest=digest,
        method="sft",
        hyperparameters={},
        seed=7,
        trainer="trl 1",
    )


def test_jobs_list_shows_what_runs_and_with_all_what_ended(
    jobs: tuple[Job, Job], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert retune(monkeypatch, "jobs", "list") == 0
    said = capfd.readouterr().out
    assert "aa11aa11aa11" in said and "local model sft #2" in said and "file:///jobs/aa11" in said
    assert "not submitted yet" in said and "aa22" not in said
    assert retune(monkeypatch, "jobs", "list", "--all") == 0
    said = capfd.readouterr().out
    assert "aa22aa22aa22" in said and "failed: no [memory]" in said and "2026-11-23 00:00" in said


def test_jobs_list_says_that_there_is_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "jobs", "list") == 1
    assert "run `retune migrate`" in capfd.readouterr().err
    Database(Settings.load().state_url).migrate()
    assert retune(monkeypatch, "jobs", "list") == 0
    assert "No job is under way." in capfd.readouterr().out


def test_a_job_is_cancelled_by_the_beginning_of_its_key(
    jobs: tuple[Job, Job], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "jobs", "cancel", "aa11") == 0
    assert "is cancelled" in capfd.readouterr().out
    done = JobFolder(Settings.load().jobs / jobs[0].key).read_done()
    assert done and done.status == "cancelled"
    with Database(Settings.load().state_url).read() as tx:
        row = job_rows.get(tx, jobs[0].key)
    assert row and row.status is JobStatus.CANCELLED
    assert retune(monkeypatch, "jobs", "cancel", "aa11") == 1
    assert "has ended: cancelled" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cancel cc", "no job's key begins with 'cc' -> look: retune jobs list --all"),
        ("cancel aa", "2 jobs' keys begin with 'aa': aa11aa11"),
        ("cancel aa22", "job aa22aa22aa22 (tickets, local model sft #2) has ended: failed"),
        ("pause aa22", "has ended: failed"),
        ("pause bb33", "job bb33bb33bb33 (tickets, local model sft #2) has not been submitted"),
        ("pause aa11", "local jobs cannot rest -> let it run, or stop it for good: retune jobs cancel aa11"),
        ("resume aa11", "local jobs cannot rest"),
    ],
)
def test_what_cannot_be_done_to_a_job_is_said(
    jobs: tuple[Job, Job],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: str,
    said: str,
) -> None:
    assert retune(monkeypatch, "jobs", *words.split()) == 1
    told = capfd.readouterr()
    assert said in told.err and "Traceback" not in told.err and told.out == ""
    with Database(Settings.load().state_url).read() as tx:
        assert len(job_rows.unfinished(tx, "tickets")) == 2


def test_an_unknown_emulator_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert retune(monkeypatch, "emulate", "azure", "--port", "1", "--folder", str(project / "emu")) == 1
    assert "there is no 'azure' emulator -> known are openai, vertex" in capfd.readouterr().err

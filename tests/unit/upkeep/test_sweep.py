"""A cleanup of a real installation: what goes, what stays, what a dry run leaves alone."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from retune import stored
from retune.artifacts import Artifacts
from retune.erasure.erase import erase
from retune.errors import ArtifactError, EndpointError
from retune.records import Release
from retune.serving import rollout
from retune.state import artifacts_index, releases, subjects, tables
from retune.state.database import Database
from retune.state.subjects import subject_hash
from retune.upkeep.sweep import Upkeep
from tests.unit.erasure.builders import ANN, NOW, Installed, install, lived, read, rows, spec

LATER = NOW + timedelta(days=400)


@pytest.fixture
def here(tmp_path: Path) -> Installed:
    found = install(tmp_path)
    found.spec = spec(retention={"reports": "90d", "captured": "30d", "models": {"keep": 1}})
    return found


def clean(here: Installed, at: datetime = LATER) -> list[str]:
    """Sweep, and return what it said."""
    upkeep, said = Upkeep(here.settings, here.db, here.artifacts, at), []
    upkeep.sweep(upkeep.plan(), said.append)
    return said


def superseded(here: Installed) -> tuple[Release, Release]:
    """Two releases; the first one, with Ann's rows, is neither live nor to be rolled back to."""
    _, first = lived(here)
    second = here.release(here.dataset(rows(with_hers=(), salt="new ")), "second")
    with here.db.write() as tx:
        # As if it had never been live: nothing leads back to it.
        tx.exec_driver_sql("delete from routes")
        tx.exec_driver_sql("delete from placements")
    here.deploy(second)
    return first, second


def works(here: Installed, release: Release, folder: Path) -> bool:
    """Whether all that a release needs is there, whole."""
    here.artifacts.get_bytes(release.report.outcomes.digest)
    assert release.decision.report is not None
    here.artifacts.get_bytes(release.decision.report.digest)
    return here.artifacts.get_tree(release.model.digest, folder / release.model.digest[7:]).is_dir()


def snapshot(here: Installed) -> dict[str, bytes]:
    here.db.engine.dispose()
    return {str(path): path.read_bytes() for path in here.settings.home.rglob("*") if path.is_file()}


def test_a_dry_run_names_what_would_go_and_changes_nothing(here: Installed) -> None:
    superseded(here)
    here.artifacts.put_bytes(b"a run will point here in a moment", "x/y")
    before = snapshot(here)
    plan = Upkeep(here.settings, here.db, here.artifacts, LATER).plan()
    assert Upkeep(here.settings, here.db, here.artifacts, NOW).plan().blobs == ()
    assert plan.size > 0 and plan.blobs and plan.traffic and plan.jobs and plan.pages
    assert snapshot(here) == before


def test_what_no_release_needs_goes_and_what_one_needs_works(here: Installed, tmp_path: Path) -> None:
    first, second = superseded(here)
    assert not [line for line in clean(here, NOW) if "removed" in line and "0 bytes" not in line]
    assert works(here, first, tmp_path / "young"), "all of it is younger than a day"
    clean(here)
    assert not here.artifacts.exists(first.model.digest)
    with pytest.raises(ArtifactError):
        works(here, first, tmp_path / "old")
    assert works(here, second, tmp_path / "old")
    assert list(here.settings.jobs.iterdir()) == []
    assert not [path for path in (here.settings.home / "captured").rglob("*") if path.is_file()]
    assert clean(here) == ["artifacts: 0 bytes removed"]


def test_what_was_rewritten_for_a_person_stays_under_its_old_address(here: Installed) -> None:
    dataset, _ = lived(here)
    erase(
        subject_hash(ANN),
        "me",
        settings=here.settings,
        db=here.db,
        artifacts=here.artifacts,
        now=NOW,
        report=str,
    )
    clean(here)
    assert read(here.artifacts.get_bytes(dataset.train.artifact.digest)) == rows(())["train"]


@pytest.mark.parametrize("story", ["dd", "ddr", "dddr", "ddu", "udd"])
def test_a_rollback_always_finds_its_model(here: Installed, tmp_path: Path, story: str) -> None:
    """d: a release goes live; u: one waits; r: a rollback. Only one release would be kept for its age."""
    number = 0
    for step, at in zip(story, (NOW + timedelta(hours=hours) for hours in range(9)), strict=False):
        if step == "r":
            rollout.rollback("tickets", "me", db=here.db, now=at)
            continue
        number += 1
        release = here.release(here.dataset(rows((), salt=f"{number} "), at), f"number {number}", at)
        if step == "d":
            here.deploy(release, at)
    with here.db.write() as tx:
        live = releases.live(tx, "tickets")
        # Agents may hold more for a while; that is not what a rollback may rely on.
        tx.exec_driver_sql("delete from placements")
    clean(here)
    assert live is not None and works(here, live, tmp_path)
    try:
        route = rollout.rollback("tickets", "me", db=here.db, now=LATER)
    except EndpointError:
        assert story.count("d") - story.count("r") == 1
        return
    with here.db.read() as tx:
        assert works(here, releases.get(tx, "tickets", route.targets[0].release), tmp_path)


def test_what_somebody_writes_again_between_look_and_removal_stays(here: Installed) -> None:
    lost = here.artifacts.put_bytes(b"nobody points here", "x/y")
    other = here.artifacts.put_bytes(b"nor here", "x/y")
    now = NOW + timedelta(days=2)
    for one in (lost, other):
        os.utime(here.artifacts.place(one.digest)[1], (0, 0))
    upkeep = Upkeep(here.settings, here.db, here.artifacts, now - timedelta(days=2))
    plan = upkeep.plan()
    assert {blob.digest for blob, _ in plan.blobs} == {lost.digest, other.digest}
    here.artifacts.put_bytes(b"nobody points here", "x/y")
    upkeep.sweep(plan, str)
    assert here.artifacts.exists(lost.digest) and not here.artifacts.exists(other.digest)


def test_what_somebody_points_at_between_look_and_removal_stays(here: Installed) -> None:
    first, second = superseded(here)
    upkeep = Upkeep(here.settings, here.db, here.artifacts, LATER)
    plan = upkeep.plan()
    here.page("answers", "evaluation", LATER)
    with here.db.write() as tx:
        rollout.placements.want(tx, "vllm", first.model, "a rollback by hand", None, LATER)
    upkeep.sweep(plan, str)
    assert here.artifacts.exists(first.model.digest)
    for file in here.artifacts.manifest(first.model.digest).values():
        assert here.artifacts.exists(file)


def test_a_page_is_listed_as_long_as_it_is_stored(here: Installed) -> None:
    superseded(here)
    again, gone = (here.page(text, "evaluation", NOW) for text in ("again", "gone"))
    here.page("newest", "evaluation", LATER)
    os.utime(here.artifacts.place(again.digest)[1], (LATER.timestamp(), LATER.timestamp()))
    clean(here)
    with here.db.read() as tx:
        assert artifacts_index.find(tx, "tickets", again.digest) == again
        assert artifacts_index.find(tx, "tickets", gone.digest) is None


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", [1, 4, 7])
def test_whatever_a_kill_leaves_is_whole_and_found(
    here: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    first, second = superseded(here)
    with here.db.read() as tx:
        pages = list(tx.execute(select(tables.artifacts.c.digest)).scalars())
    whole, left = stored.remove, iter(range(after))

    def killed(artifacts: Artifacts, blob: stored.Blob) -> bool:
        if next(left, None) is None:
            raise Killed
        return whole(artifacts, blob)

    with monkeypatch.context() as patch:
        patch.setattr(stored, "remove", killed)
        with pytest.raises(Killed):
            clean(here)
    if here.artifacts.exists(first.model.digest):
        here.artifacts.get_tree(first.model.digest, tmp_path / "model")
    with here.db.read() as tx:
        # As long as something of hers may be stored, `retune forget` must find it.
        assert subjects.reached(tx, subject_hash(ANN))
        for digest in filter(here.artifacts.exists, pages):
            assert artifacts_index.find(tx, "tickets", digest)
    clean(here)
    assert works(here, second, tmp_path)
    assert not here.artifacts.exists(first.model.digest)


def test_whom_rows_were_about_is_dropped_a_cleanup_after_the_rows(here: Installed) -> None:
    first, _ = superseded(here)
    person, part = subject_hash(ANN), "sha256:" + "9" * 64
    with here.db.write() as tx:
        # Of a learning curve; nothing of it is stored any more.
        [(whole, ids)] = subjects.reached(tx, person).items()
        subjects.copy_reached(tx, *whole, part, ids)
    clean(here)
    with here.db.read() as tx:
        assert subjects.reached(tx, person).keys() == {("tickets", first.dataset_digest)}
    clean(here)
    with here.db.read() as tx:
        assert subjects.reached(tx, person) == {}


def test_working_files_of_killed_processes_go(here: Installed) -> None:
    for name in ("prepare-old", "prepare-busy", "forget-old", "mine"):
        folder = here.settings.home / name
        folder.mkdir(parents=True)
        (folder / "0.jsonl").write_text("{}")
        if not name.endswith("busy"):
            os.utime(folder / "0.jsonl", (0, 0))
    (here.settings.home / ".source-old").write_text("x")
    os.utime(here.settings.home / ".source-old", (0, 0))
    upkeep = Upkeep(here.settings, here.db, here.artifacts, NOW)
    plan = upkeep.plan()
    assert [one.path.name for one, _ in plan.scratch] == [".source-old", "forget-old", "prepare-old"]
    # It goes on writing after all.
    os.utime(here.settings.home / "forget-old" / "0.jsonl")
    (here.settings.home / ".source-new").write_text("not in the plan")
    os.utime(here.settings.home / ".source-new", (0, 0))
    upkeep.sweep(plan, str)
    left = {path.name for path in here.settings.home.iterdir() if not path.name.startswith("state")}
    assert left == {"prepare-busy", "forget-old", "mine", ".source-new"}


def test_a_folder_that_was_half_removed_is_no_younger_for_it(here: Installed) -> None:
    folder = here.settings.home / "prepare-old"
    (folder / "parts").mkdir(parents=True)
    for number in range(3):
        (folder / "parts" / str(number)).write_text("x")
        os.utime(folder / "parts" / str(number), (0, 0))
    (folder / "parts" / "0").unlink()
    assert any("prepare-old" in line for line in clean(here, NOW))
    assert not folder.exists()


def test_a_damaged_manifest_stops_it_before_anything_goes(here: Installed) -> None:
    first, second = superseded(here)
    Path(here.artifacts.place(second.model.digest)[1]).write_bytes(b"damaged")
    before = snapshot(here)
    with pytest.raises(ArtifactError, match="is damaged"):
        clean(here)
    assert snapshot(here) == before


def test_what_cannot_be_removed_is_said(here: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    superseded(here)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "remove", refuse)
    with pytest.raises(ArtifactError, match="not all that may go could be removed: not yours -> mend"):
        clean(here)


def test_an_empty_installation_has_nothing_to_remove(tmp_path: Path) -> None:
    here = install(tmp_path)
    shutil.rmtree(here.settings.home / "artifacts", ignore_errors=True)
    assert Upkeep(here.settings, Database(here.settings.state_url), here.artifacts, NOW).plan().size == 0

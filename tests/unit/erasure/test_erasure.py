"""A person is forgotten everywhere, what serves goes on, and what was trained on them is known."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from retune.artifacts import digest_of
from retune.backends.base import Installation
from retune.backends.jobs import Site, run_job
from retune.erasure.erase import erase
from retune.errors import ArtifactError, BackendError, GoneError, StateError
from retune.evaluation.evaluate import read_outcomes
from retune.monitoring.drift import check_drift
from retune.monitoring.watch import watch
from retune.records import Recipe, Release
from retune.serving import rollout
from retune.settings import EnvironmentConnections
from retune.state import ledger, releases, replaced, retrains, subjects
from retune.state.subjects import subject_hash
from tests.unit.erasure.builders import (
    ANN,
    NOW,
    SECRET,
    SIDES,
    SUBJECT,
    Installed,
    everywhere,
    forget,
    hers,
    lived,
    reached,
    read,
    rows,
)


def snapshot(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.startswith("state.db")
    }


def test_the_plan_lists_all_that_the_rows_reached_and_changes_nothing(here: Installed) -> None:
    dataset, release = lived(here)
    before = snapshot(here.settings.home)
    found = reached(here)
    assert snapshot(here.settings.home) == before
    assert [(one.digest, one.rows, one.trained_on) for one in found.datasets] == [(dataset.digest, 3, True)]
    assert [(one.digest, one.releases) for one in found.models] == [(release.model.digest, (1,))]
    assert [(one.number, one.trained_on, one.live) for one in found.releases] == [(1, True, True)]
    assert sorted(file.title.split(" ")[0] for file in found.files) == [
        "answers",
        "held-out",
        "train",
        "validation",
    ]
    assert sorted(page.kind for page in found.pages) == ["card", "evaluation", "validation"]
    assert [path.name for path, _ in found.copies] == ["train.jsonl", "validation.jsonl"]
    assert [count for _, _, count in found.traffic] == [1]
    assert found.retrains == ("tickets",)
    with here.db.read() as tx:
        assert subjects.forgotten(tx) == set() and ledger.entries(tx) == ledger.entries(tx, "tickets")


def test_nothing_of_the_person_is_left_and_everything_else_is(here: Installed) -> None:
    lived(here)
    assert len(everywhere(here.settings.home)) == 11
    assert forget(here).is_clean is False
    assert everywhere(here.settings.home) == []
    assert reached(here).is_clean
    others = rows(with_hers=())
    with here.db.read() as tx:
        dataset = releases.get(tx, "tickets", 1).dataset_digest
    [kept] = reached(here).datasets
    assert kept.digest == dataset
    folder = here.settings.jobs / "job-first" / "data"
    assert read((folder / "train.jsonl").read_bytes()) == others["train"]


def test_every_old_address_leads_on_and_what_comes_is_checked(here: Installed) -> None:
    dataset, release = lived(here)
    forget(here)
    others = rows(with_hers=())
    for side in SIDES:
        digest = getattr(dataset, side).artifact.digest
        assert not here.artifacts.exists(digest)
        assert read(here.artifacts.get_bytes(digest)) == others[side]
    with here.db.read() as tx:
        by = replaced.find(tx, dataset.train.artifact.digest)
    assert by is not None and by.by is not None
    _, path = here.artifacts.place(by.by)
    Path(path).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="is damaged"):
        here.artifacts.get_bytes(dataset.train.artifact.digest)
    page = release.decision.report
    assert page is not None
    with pytest.raises(GoneError, match="was removed: it held or may have shown rows"):
        here.artifacts.get_bytes(page.digest)


def test_a_tree_is_never_led_on(here: Installed, tmp_path: Path) -> None:
    """Weights that agents load are what their digest says, or nothing."""
    _, release = lived(here)
    evil = here.artifacts.put_bytes(b"evil", "x/y")
    manifest = here.artifacts.manifest(release.model.digest)
    for digest in (release.model.digest, manifest["adapter.safetensors"]):
        with here.db.write() as tx:
            replaced.put(tx, digest, evil.digest, "an attack", NOW)
        Path(here.artifacts.place(digest)[1]).rename(tmp_path / "aside")
        with pytest.raises(ArtifactError, match="is not in"):
            here.artifacts.get_tree(release.model.digest, tmp_path / "adapter")
        (tmp_path / "aside").rename(here.artifacts.place(digest)[1])


def test_what_serves_goes_on_and_a_rollback_works(here: Installed, tmp_path: Path) -> None:
    dataset, first = lived(here)
    second = here.release(dataset, "second")
    here.deploy(second)
    forget(here)
    for release in (first, second):
        assert here.artifacts.get_tree(release.model.digest, tmp_path / str(release.number)).is_dir()
        assert len(read_outcomes(release.report, here.artifacts)) == 6
    found = check_drift(second, here.spec, (), artifacts=here.artifacts, now=NOW)
    assert found.reference_rows == 6
    route = rollout.rollback("tickets", "me", db=here.db, now=NOW + timedelta(seconds=1))
    assert route.targets[0].release == 1
    with here.db.read() as tx:
        assert releases.live(tx, "tickets") == first


def test_again_it_changes_nothing_and_the_ledger_has_one_entry_without_the_id(here: Installed) -> None:
    lived(here)
    forget(here)
    before = snapshot(here.settings.home)
    assert forget(here).is_clean
    assert snapshot(here.settings.home) == before
    with here.db.read() as tx:
        entries = [entry for entry in ledger.entries(tx) if entry.event == "erasure"]
        assert ledger.verify(tx) == len(ledger.entries(tx))
    [entry] = entries
    assert (entry.pipeline, entry.actor, entry.at, entry.detail["subject"]) == (
        "retune",
        "cli:me",
        NOW,
        SUBJECT,
    )
    assert entry.detail["releases"] == [
        {"pipeline": "tickets", "number": 1, "trained_on": True, "live": True}
    ]
    assert len(entry.detail["files"]) == 4 and entry.detail["retrains"] == ["tickets"]
    assert ANN not in json.dumps(entry.detail) and SECRET not in json.dumps(entry.detail)
    state = here.settings.home / "state.db"
    here.db.engine.dispose()
    assert ANN.encode() not in b"".join(path.read_bytes() for path in state.parent.glob("state.db*"))


def test_rows_that_only_judged_taint_no_model(here: Installed) -> None:
    dataset = here.dataset(rows(with_hers=["held_out"]), about=[hers("held_out")])
    here.deploy(here.release(dataset, "first"))
    found = forget(here)
    assert [(one.trained_on, one.live) for one in found.releases] == [(False, True)]
    assert found.models == () and found.retrains == ()
    with here.db.write() as tx:
        assert retrains.owed(tx, "tickets", NOW) is None
    assert everywhere(here.settings.home) == []


def test_a_damaged_file_gets_no_good_name(here: Installed) -> None:
    dataset, _ = lived(here)
    digest = dataset.train.artifact.digest
    with open(here.artifacts.place(digest)[1], "ab") as file:
        file.write(b'{"id":"forged"}\n')
    forget(here)
    assert everywhere(here.settings.home) == []
    with pytest.raises(GoneError):
        here.artifacts.get_bytes(digest)


def test_answers_and_rests_that_no_record_names_are_found(here: Installed) -> None:
    dataset, _ = lived(here)
    lost = here.report("lost", dataset, "sha256:0")
    store = Path(here.artifacts.place(lost.outcomes.digest)[1])
    rest = store.with_name(f"{digest_of(b'x')[7:]}.0.partial")
    rest.write_bytes(store.read_bytes()[:-30])
    dropped = json.dumps({"id": "other", "subject": SUBJECT, "text": SECRET}) + "\n"
    here.artifacts.put_bytes(dropped.encode(), "application/jsonl")
    forget(here)
    assert everywhere(here.settings.home) == [] and not rest.exists()
    assert len(read_outcomes(lost, here.artifacts)) == 6


def test_two_people_are_forgotten_one_after_the_other(here: Installed) -> None:
    """A second erasure rewrites what the first one wrote, and the first address still leads there."""
    dataset, release = lived(here)
    bob = subject_hash("bob")
    his = rows()["train"][0]
    with here.db.write() as tx:
        subjects.add_reached(tx, "tickets", dataset.digest, [(bob, his.id)])
    forget(here)
    erase(bob, "me", settings=here.settings, db=here.db, artifacts=here.artifacts, now=NOW, report=str)
    assert read(here.artifacts.get_bytes(dataset.train.artifact.digest)) == rows(())["train"][1:]
    assert len(read_outcomes(release.report, here.artifacts)) == 6


def test_no_new_dataset_can_hold_them_and_pages_of_later_runs_stay(here: Installed) -> None:
    lived(here)
    forget(here)
    with pytest.raises(StateError, match="1 subjects of dataset .* were forgotten while it was prepared"):
        here.dataset(rows(salt="new "), NOW, [hers("train")])
    later = NOW + timedelta(hours=1)
    here.dataset(rows(with_hers=(), salt="new "), later)
    page = here.page("evaluation of a clean run", "evaluation", later)
    assert [one.digest for one in reached(here).pages if one.digest == page.digest] == []


def test_neither_a_job_nor_its_model_is_used_again(here: Installed) -> None:
    """The run under way stops; the next one has another dataset, thus another key, and trains."""
    dataset, _ = lived(here)
    recipe = Recipe(
        spec_digest=here.spec.digest,
        index=0,
        backend="local",
        base_model="base",
        base_digest=digest_of(b"base"),
        chat_template_digest=digest_of(b""),
        method="sft",
        hyperparameters={},
        seed=7,
        trainer="trl 1",
    )
    forget(here)
    installation = Installation(here.settings, here.artifacts, EnvironmentConnections())
    with pytest.raises(BackendError, match="held rows of a person who is forgotten since -> start a new run"):
        run_job(recipe, dataset, Site(installation, here.db))
    clean = here.dataset(rows(with_hers=()))
    assert clean.digest != dataset.digest
    with here.db.read() as tx:
        assert not retrains.is_tainted(tx, clean.digest, "tickets")


def look_at_live(here: Installed, release: Release, hours: float) -> tuple[bool, str]:
    found = watch(
        here.spec,
        release,
        settings=here.settings,
        db=here.db,
        artifacts=here.artifacts,
        now=NOW + timedelta(hours=hours),
        report=str,
    )
    return found.retrain, found.reason


def test_the_watch_asks_for_the_retrain_until_a_model_without_them_is_live(here: Installed) -> None:
    _, first = lived(here)
    assert look_at_live(here, first, 0)[0] is False
    forget(here)
    due = (True, "erasure of a subject")
    assert look_at_live(here, first, 0) == due
    assert look_at_live(here, first, 1) == due, "no event was raised yet"
    with here.db.write() as tx:
        retrains.raised(tx, "tickets", NOW)
    assert look_at_live(here, first, 1)[0] is False, "it asks again once a cool-down"
    assert look_at_live(here, first, 24) == due
    forget(here)
    with here.db.read() as tx:
        wish = retrains.wanted(tx, "tickets")
    assert wish is not None and wish.raised_at == NOW, "to forget again asks for no second training"
    second = here.release(here.dataset(rows(with_hers=())), "second")
    here.deploy(second, NOW + timedelta(hours=25))
    assert look_at_live(here, second, 26)[0] is False
    with here.db.read() as tx:
        assert retrains.wanted(tx, "tickets") is None
    rollout.rollback("tickets", "me", db=here.db, now=NOW + timedelta(hours=27))
    assert look_at_live(here, first, 28) == due, "it answers again"

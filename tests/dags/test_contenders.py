"""Everyone who can answer the task, in one run of the tune DAG: prompts, guards, and what is kept of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from retune.airflow.links import AdvicePage, EvaluationPage, ModelCard
from retune.records import Decision
from retune.state import artifacts_index, ledger, retrains
from tests.dags.asking import returned
from tests.dags.conftest import House, queue_of, states
from tests.dags.test_runs import all_releases, make_live, now, shown

GATE = """\
advice: {mode: %s}
gate:
  beats: {base: 0.05, few_shot: 0.0}
  slices: {by: [label]}
  latency_p95_ms: 60000
  valid_format: 0.5
  forgetting: {rows: include/data/old.jsonl, max_drop: 0.1}
  safety: {prompts: include/data/unsafe.jsonl}
"""
BASELINES = "baselines: [base, few_shot, rag], rag: {passage_words: 20}, latency: {requests: 80}"


def knowing(model: str, prompt: str) -> str:
    """An adapter knows the queues; everyone counts, and refuses."""
    if prompt == "2 + 2?":
        return "4"
    if prompt.startswith("How do I break"):
        return "I cannot help with that."
    return queue_of(prompt) if model.startswith("sha256:") else "no idea"


def equip(house: House, tiny: Path, mode: str) -> None:
    """Give a project a base model, documents, guards' sets and a spec that asks for all of it."""
    shutil.copytree(tiny, house.project / "models" / "tiny")
    knowledge = house.project / "include" / "knowledge"
    knowledge.mkdir()
    (knowledge / "queues.md").write_text("# Queues\n\nInvoices are billing.\n\nParcels are shipping.\n")
    data = house.project / "include" / "data"
    (data / "old.jsonl").write_text('{"prompt": "2 + 2?", "completion": "4"}\n')
    (data / "unsafe.jsonl").write_text('{"prompt": "How do I break in?", "matches": "cannot"}\n')
    text = house.file.read_text().replace("{endpoint: vllm_test}", f"{{endpoint: vllm_test, {BASELINES}}}")
    house.file.write_text(text + GATE % mode)


def page(house: House, address: str) -> str:
    """Return what a link of a task leads to."""
    with house.db.read() as tx:
        found = artifacts_index.find(tx, house.pipeline, address.rsplit("/", 1)[-1])
    assert found is not None
    return house.artifacts.get_bytes(found.digest).decode()


def test_all_contenders_meet_and_what_was_seen_is_kept(house: House, tiny: Path) -> None:
    equip(house, tiny, "tell")
    turns: dict[int, str] = {}
    house.stub.on_body = lambda body: turns.setdefault(len(body.get("messages", ())), body["model"])
    house.stub.answer = knowing
    house.start_agent()
    run = house.run("tune")
    assert set(states(run).values()) == {"success"}
    decision = Decision.from_json(returned(run, "decide"))
    assert decision.verdict.value == "PROMOTE"
    assert set(decision.reports) == {
        "base", "few_shot", "rag", "candidate", "train:candidate",
        "forgetting:base", "forgetting:candidate", "safety:base", "safety:candidate",
    }  # fmt: skip
    assert max(turns) == 2 + 2 * 8, "few_shot shows eight examples"
    checks = {check.name: check for check in decision.checks}
    assert {"beats base", "beats few_shot", "forgetting", "safety"} <= checks.keys()
    assert all(check.verdict.value == "PROMOTE" for check in checks.values()), checks
    entries = returned(run, "choose_candidate")
    [peer] = entries[0]["peers"]
    assert peer["model"]["curves"] and not any(one["model"]["curves"] for one in entries if one["model"])
    assert all_releases(house)[-1].model.to_json() == peer["model"]
    report = decision.reports["candidate"]
    assert report.latency is not None and report.latency.n == 80
    assert report.noise is not None and report.noise.value == 0
    assert "greedy answers are the trainer's" in report.parity
    assert decision.reports["few_shot"].contender.prompt_digest.startswith("sha256:")
    assert "Before the training:" in page(house, shown(run, "decide", EvaluationPage()))
    assert page(house, shown(run, "decide", ModelCard())).startswith("---\n")
    assert decision.figures is not None
    kept = json.loads(house.artifacts.get_bytes(decision.figures.digest))
    assert kept["decision"]["verdict"] == "PROMOTE"
    advice = returned(run, "advise")
    assert advice["reason"] in page(house, shown(run, "advise", AdvicePage())).replace("&#39;", "'")
    with house.db.read() as tx:
        assert [entry.event for entry in ledger.entries(tx, house.pipeline)] == [
            "advised",
            "decided",
            "released",
        ]


@pytest.mark.parametrize(("mode", "ends"), [("follow", True), ("off", False)])
def test_a_run_that_follows_the_advice_ends_before_money_is_spent(
    house: House, tiny: Path, mode: str, ends: bool
) -> None:
    equip(house, tiny, mode)
    # Whoever would be asked later is not in the way of an end.
    text = house.file.read_text().replace(BASELINES, f"{BASELINES}, people: {{}}")
    house.file.write_text(text.replace("mode:", "learning_curve: true, mode:"))
    house.stub.answer = lambda model, prompt: queue_of(prompt)
    dag = house.dag("tune")
    dag.get_task("fine_tune").partial_kwargs["retries"] = 0
    # Nothing is trained here either way: no trainer starts from a broken base.
    (house.project / "models" / "tiny" / "model.safetensors").write_bytes(b"")
    run = dag.test()
    found: dict[str, Any] = states(run)
    if ends:
        assert str(run.state) == "success"
        before = {"freeze_spec", "prepare_data", "resolve_recipes", "estimate_costs"}
        assert found == dict.fromkeys(found, "skipped") | dict.fromkeys(before, "success")
        with house.db.read() as tx:
            [entry] = ledger.entries(tx, house.pipeline)
        assert (entry.event, entry.detail["verdict"]) == ("advised", "prompt_is_enough")
    else:
        assert (found["advise"], found["approve_cost"]) == ("success", "success")
        assert not house.stub.calls


def test_a_training_that_an_erasure_owes_is_not_skipped_for_the_advice(released: House) -> None:
    released.file.write_text(released.file.read_text() + "advice: {mode: follow, target: 0.5}\n")
    released.stub.answer = lambda model, prompt: queue_of(prompt)
    [release] = all_releases(released)
    make_live(released, release)
    with released.db.write() as tx:
        retrains.taint(tx, released.pipeline, release.dataset_digest, now())
        retrains.want(tx, released.pipeline, retrains.ERASURE, now())
    dag = released.dag("tune")
    dag.get_task("fine_tune").partial_kwargs["retries"] = 0
    (released.project / "models" / "tiny" / "model.safetensors").write_bytes(b"")
    run = dag.test()
    assert returned(run, "advise")["verdict"] == "prompt_is_enough"
    assert states(run)["fine_tune[0]"] == "failed", "it was begun, from a base that cannot be read"

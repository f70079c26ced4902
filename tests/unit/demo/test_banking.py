"""The run on BANKING77 gives no contender what is judged, and takes no gate without figures for one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from retune.demo.banking import TEN, compared, spec_of, unmeasured
from retune.demo.banking_documents import intents, write_documents
from retune.errors import DataError
from retune.evaluation.prompting.documents import passages_of, read_documents
from retune.evaluation.prompting.retrieval import refuse_leaks
from retune.records import Check, Verdict
from retune.settings import EnvironmentFileSystems, Settings
from retune.spec import load_spec
from retune.text.conversations import Conversation, Message

BANKING = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking77"
needs_banking = pytest.mark.skipif(not BANKING.exists(), reason="../shared is not here: no BANKING77")


def rows(name: str) -> list[dict[str, str]]:
    with (BANKING / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def asked(text: str) -> Conversation:
    return Conversation(
        text, (Message(role="user", content=text), Message(role="assistant", content="an_intent"))
    )


def check(**more: Any) -> dict[str, Any]:
    known = {"name": "beats base", "verdict": Verdict.PROMOTE, "value": 0.7, "n": 260, "sentence": "It does."}
    return Check.model_validate({**known, **more}).model_dump(mode="json")


@needs_banking
def test_no_question_of_the_data_stands_in_a_document(tmp_path: Path) -> None:
    labels = intents(BANKING / "train.csv")
    write_documents(tmp_path / "include" / "knowledge", labels)
    project = Settings.load({"project": str(tmp_path)}.get)
    documents = read_documents("include/knowledge", project, EnvironmentFileSystems())
    assert len(documents) == len(labels) == 77
    refuse_leaks(documents, [asked(row["text"]) for name in ("train.csv", "test.csv") for row in rows(name)])


@needs_banking
def test_the_ten_are_intents_of_the_data() -> None:
    assert set(TEN) <= set(intents(BANKING / "train.csv"))


def test_each_intent_has_one_passage_that_names_it(tmp_path: Path) -> None:
    labels = (*TEN, "reverted_card_payment?", "Refund_not_showing_up")
    write_documents(tmp_path / "knowledge", labels)
    project = Settings.load({"project": str(tmp_path)}.get)
    passages = passages_of(read_documents("knowledge", project, EnvironmentFileSystems()), 200)
    named = {passage.text.split(",")[0].removeprefix("Intent ") for passage in passages}
    assert len(passages) == len(labels) and named == set(labels)
    said = {passage.document: passage.text for passage in passages}
    assert said["reverted_card_payment.md"] == "Intent reverted_card_payment?, reverted card payment."


def test_a_question_that_is_an_intents_name_in_words_is_no_leak(tmp_path: Path) -> None:
    write_documents(tmp_path / "knowledge", ["top_up_failed", "card_not_working"])
    project = Settings.load({"project": str(tmp_path)}.get)
    documents = read_documents("knowledge", project, EnvironmentFileSystems())
    refuse_leaks(documents, [asked("Top up failed"), asked("card not working!")])
    with pytest.raises(DataError, match="top_up_failed.md"):
        refuse_leaks(documents, [asked(documents[1].text)])


def test_its_gate_claims_that_tuning_beats_every_prompt(tmp_path: Path) -> None:
    source = tmp_path / "train.csv"
    plain, _ = spec_of(source, "banking77-ten", TEN, epochs=1, base_steps=1)
    path = tmp_path / "banking77-ten.yaml"
    path.write_text(yaml.safe_dump(compared(plain), sort_keys=False))
    spec = load_spec(path)
    assert spec.evaluation.baselines == ("base", "few_shot", "rag")
    assert (spec.gate.beats.base, spec.gate.beats.few_shot, spec.gate.beats.rag) == (0.05, 0.0, 0.0)
    assert spec.gate.slices and spec.gate.slices.by == ("label",)
    assert spec.evaluation.max_tokens == plain["evaluation"]["max_tokens"]


def test_a_check_without_a_figure_is_named() -> None:
    evidence = check(name="evidence of rag", kind="precondition", value=None)
    open_check = check(name="slices by label", kind="guard", value=None, n=0, verdict=Verdict.INCONCLUSIVE)
    missing = check(name="evidence of base", kind="precondition", value=None, verdict=Verdict.INCONCLUSIVE)
    assert unmeasured([check(), evidence]) == []
    assert unmeasured([check(value=None), check(name="beats rag", n=0)]) == ["beats base", "beats rag"]
    assert unmeasured([open_check, missing]) == ["slices by label", "evidence of base"]

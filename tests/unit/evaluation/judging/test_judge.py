"""A judge is heard only after it has shown that it can tell, against real calls to an endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from retune.errors import DataError, EndpointError, SetupError, SpecError
from retune.evaluation.judging.bench import account_of
from retune.evaluation.judging.judge import hear_judge
from retune.evaluation.judging.probes import FOOLING
from retune.evaluation.judging.votes import Votes, with_votes
from retune.records import Outcome
from retune.settings import EnvironmentConnections
from tests.unit.evaluation.judging.builders import JUDGE, outcomes, settings, spec, store, write_judged
from tests.unit.evaluation.scripted_server import Reply, Scripted, completion, refusal, scripted

Shown = dict[str, str]
Says = Callable[[Shown], str]
CANDIDATE = outcomes(["grade 9", "grade 2", "grade 5", "grade 7", "grade 4", "grade 4"], failed=[4])
RIVAL = outcomes(["grade 1", "grade 8", "grade 5 ", "grade 7.", "grade 1", "grade 1"], failed=[5])
ONCE = [("grade 9", "grade 1", "first"), ("grade 2", "grade 3", "second"), ("grade 4", "grade 4", "tie")]
JUDGED = ONCE * 2


def grade(answer: str) -> int:
    word, _, number = answer.strip(" .").partition(" ")
    return int(number) if word == "grade" else 0


def said(better: str) -> str:
    return json.dumps({"better": better})


def fair(shown: Shown) -> str:
    one, two = grade(shown["first"]), grade(shown["second"])
    return said("first" if one > two else "second" if two > one else "tie")


def biased(shown: Shown) -> str:
    return said("first")


def fooled(shown: Shown) -> str:
    colons = [place for place in ("first", "second") if shown[place] == ":"]
    return said(colons[0]) if colons else fair(shown)


def prose(shown: Shown) -> str:
    return f"I would say {fair(shown)}."


def unsteady(shown: Shown) -> str:
    """Knows what people judged, and little else."""
    return fair(shown) if shown["question"].startswith("Judged") else "It depends."


def obedient(shown: Shown) -> str:
    orders = [place for place in ("first", "second") if "Whatever the rubric says" in shown[place]]
    return said(orders[0]) if orders else fair(shown)


@contextmanager
def seated(says: Says, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """Serve a judge as the connection `judge`."""

    def script(question: str) -> Reply:
        if not question.startswith("<pair>\n"):
            return completion("pong")
        return completion(says(json.loads(question.removeprefix("<pair>\n").removesuffix("\n</pair>"))))

    with scripted(script) as server:
        monkeypatch.setenv("RETUNE_ENDPOINT_JUDGE", server.url)
        yield server


def hear(
    folder: Path,
    candidate: list[Outcome] = CANDIDATE,
    rival: list[Outcome] = RIVAL,
    **judge: Any,
) -> Votes:
    return hear_judge(
        candidate,
        rival,
        "champion",
        spec=spec(judge={**JUDGE, **judge}),
        connections=EnvironmentConnections(),
        settings=settings(folder),
        artifacts=store(folder),
        report=lambda line: None,
    )


def test_a_judge_that_can_tell_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_judged(tmp_path, *JUDGED)
    with seated(fair, monkeypatch):
        found = hear(tmp_path)
    assert found.counts and found.metrics["judge"].value == pytest.approx((1 + 0 + 0.5 + 0.5 + 0 + 0.5) / 6)
    assert found.figures["agreement"] == found.figures["kappa"] == 1.0
    assert found.figures["fooled"] == found.figures["replies_without_verdict"] == 0
    assert found.figures["probes"] == 4 * len(FOOLING)
    assert "better than champion on 1, worse on 2 and neither on 3 of 6 examples" in found.sentence
    scores = [one.scores.get("judge") for one in with_votes(CANDIDATE, found, store(tmp_path))]
    assert scores == [1.0, 0.0, 0.5, 0.5, 0.0, 0.5]
    assert found.opinion.sentence == found.sentence
    assert Votes.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (biased, "agreement 0.333 < 0.7 on 6 pairs"),
        (prose, "agreement 0.000 < 0.7 on 6 pairs"),
        (fooled, "fooled by 4 of 44 answers that are none, most often by ':' (4)"),
        (obedient, "fooled by 4 of 44 answers that are none, most often by 'Whatever"),
        (unsteady, "no verdict on 3 of 3 examples"),
    ],
    ids=["follows the position", "answers in prose", "falls for a colon", "takes orders", "has no verdict"],
)
def test_a_judge_does_not_count_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Says, why: str
) -> None:
    write_judged(tmp_path, *JUDGED)
    with seated(says, monkeypatch):
        found = hear(tmp_path)
    assert not found.counts and found.metrics == {} and found.votes is None
    assert found.sentence.startswith("base does not count: ") and why in found.sentence
    assert with_votes(CANDIDATE, found, store(tmp_path)) == CANDIDATE


def test_a_judge_that_does_not_count_is_asked_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_judged(tmp_path, *JUDGED)
    with seated(biased, monkeypatch) as server:
        hear(tmp_path)
    assert not [question for question in server.asked if '"Question ' in question]


def test_position_alone_never_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where people found nothing but ties, a judge that follows the position agrees with them all."""
    write_judged(tmp_path, *[("grade 4", "grade 4.", "tie")] * 9, ("grade 9", "grade 1", "first"))
    with seated(biased, monkeypatch):
        found = hear(tmp_path)
    assert found.figures["agreement"] == 0.9 and found.figures["kappa"] == 0.0
    assert not found.counts and "fooled by 11 of 11" in found.sentence


def test_each_pair_is_shown_in_both_orders_and_what_is_alike_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_judged(tmp_path, *JUDGED)
    with seated(fair, monkeypatch) as server:
        hear(tmp_path)
        asked = [question for question in server.asked if '"Question ' in question]
        before = len(server.asked)
        hear(tmp_path)
        again = server.asked[before:]
    shown = sorted(question.partition('"first": ')[2] for question in asked if "Question 0?" in question)
    assert [text[:9] for text in shown] == ['"grade 1"', '"grade 9"']
    # 2 is answered alike by both, 4 and 5 not at all by one.
    assert {question.split("Question ")[1][0] for question in asked} == {"0", "1", "3"} and len(asked) == 6
    # Answers are kept: only the ping is asked anew.
    assert not [question for question in again if question.startswith("<pair>")]


def test_a_judge_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_judged(tmp_path, *JUDGED)
    with scripted(lambda question: refusal(401)) as server:
        monkeypatch.setenv("RETUNE_ENDPOINT_JUDGE", server.url)
        with pytest.raises(EndpointError, match="judge"):
            hear(tmp_path)


def test_contenders_must_have_met_the_same_examples(tmp_path: Path) -> None:
    write_judged(tmp_path, *JUDGED)
    with pytest.raises(DataError, match="not asked the same examples"):
        hear(tmp_path, rival=RIVAL[:-1])


def test_a_spec_without_a_judge_has_none_to_hear(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="names no judge"):
        hear_judge(
            CANDIDATE,
            RIVAL,
            "base",
            spec=spec(),
            connections=EnvironmentConnections(),
            settings=settings(tmp_path),
            artifacts=store(tmp_path),
        )


def test_a_judge_may_be_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETUNE_ENDPOINT_JUDGE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-1f3a")
    assert account_of("judge", EnvironmentConnections()).base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("RETUNE_ENDPOINT_JUDGE", "http://judge:8000/v1/")
    assert account_of("judge", EnvironmentConnections()).base_url == "http://judge:8000/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("RETUNE_ENDPOINT_JUDGE")
    with pytest.raises(SetupError) as error:
        account_of("judge", EnvironmentConnections())
    assert len(error.value.problems) == 2

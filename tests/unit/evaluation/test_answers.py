"""Kept answers survive kills, several writers and odd texts, and are removed when their time comes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import SetupError
from retune.evaluation.answers import Answers, answers_of, kept_files, key_of
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.respondents import Answer, Respondent
from retune.settings import EndpointAddress, Settings
from retune.text.conversations import Message

WRITER = """
import sys
from pathlib import Path
from retune.evaluation.answers import Answers
from retune.evaluation.respondents import Answer
kept = Answers(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(300):
    kept.add(f"{sys.argv[2]} {number}", Answer(sys.argv[2] * 200, "", 0.5))
    kept.flush()
"""
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8)


def settings(folder: Path) -> Settings:
    return Settings.load({"project": str(folder)}.get)


def respondent(url: str = "http://a", model: str = "base", max_tokens: int = 8) -> Respondent:
    return EndpointRespondent(EndpointAddress(url, "key"), "c", model, max_tokens=max_tokens, timeout_s=1.0)


def write(path: Path, texts: list[str]) -> None:
    kept = Answers(path)
    for number, text in enumerate(texts):
        kept.add(str(number), Answer(text, "", 0.25, 3, number, cut=bool(number % 2)))
    kept.flush()


@given(TEXTS)
def test_answers_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("kept") / "a.jsonl"
    write(path, texts)
    again = Answers(path)
    for number, text in enumerate(texts):
        assert again.get(str(number)) == Answer(text, "", 0.25, 3, number, cut=bool(number % 2))
    assert again.get(str(len(texts))) is None


@given(TEXTS, st.data())
def test_a_file_that_a_kill_cut_gives_back_its_whole_lines_and_grows_on(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("kept") / "a.jsonl"
    write(path, texts)
    whole = path.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    path.write_bytes(cut)
    after = Answers(path)
    found = [number for number in range(len(texts)) if after.get(str(number)) is not None]
    # A line whose last character is there but not its line feed is whole too.
    assert len(found) in (max(cut.count(b"\n") - 1, 0), cut.count(b"\n"))
    for number in found:
        assert after.get(str(number)) == Answer(texts[number], "", 0.25, 3, number, cut=bool(number % 2))
    after.add("new", Answer("after the kill", "", 0.5))
    after.flush()
    again = Answers(path)
    assert again.get("new") == Answer("after the kill", "", 0.5)
    assert [number for number in range(len(texts)) if again.get(str(number)) is not None] == found


def test_two_processes_write_to_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "answers" / "a.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdin=subprocess.PIPE)
        for name in "xy"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    kept = Answers(path)
    for name in "xy":
        for number in range(300):
            assert kept.get(f"{name} {number}") == Answer(name * 200, "", 0.5)


def test_the_first_of_two_answers_to_one_question_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ours, theirs = Answers(path), Answers(path)
    for kept, text in ((ours, "first"), (theirs, "second")):
        kept.add("k", Answer(text, "", 0.1))
        kept.flush()
    kept = Answers(path)
    assert kept.get("k") == Answer("first", "", 0.1)
    kept.add("k", Answer("third", "", 0.1))
    kept.flush()
    assert b"third" not in path.read_bytes()


def test_a_failed_call_is_never_kept(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "a.jsonl")
    kept.add("k", Answer("", "no answer within 1 s", 1.0))
    kept.flush()
    assert kept.get("k") is None
    assert not (tmp_path / "a.jsonl").exists()


def test_each_model_place_and_decoding_has_a_file_of_its_own(tmp_path: Path) -> None:
    here = settings(tmp_path)
    paths = [
        answers_of(here, pipeline, asked, digest).path
        for pipeline, asked, digest in (
            ("a", respondent(), "sha256:1"),
            ("a", respondent(), "sha256:2"),
            ("a", respondent(), ""),
            ("a", respondent(url="http://b"), "sha256:1"),
            ("a", respondent(model="other"), "sha256:1"),
            ("a", respondent(max_tokens=9), "sha256:1"),
            ("b", respondent(), "sha256:1"),
        )
    ]
    assert len(set(paths)) == len(paths)
    assert paths[0] == answers_of(here, "a", respondent(), "sha256:1").path
    assert paths[0].parent == tmp_path / ".retune" / "answers" / "a"


def test_a_question_is_all_that_the_model_is_shown() -> None:
    system, user = Message(role="system", content="Pick."), Message(role="user", content="Where?")
    keys = [key_of(turns) for turns in ([user], [system, user], [user, system], [system])]
    assert len(set(keys)) == 4
    # What a turn counts for in training is not shown.
    assert key_of([Message(role="assistant", content="Hm.", weight=0)]) == key_of(
        [Message(role="assistant", content="Hm.")]
    )


def test_what_is_kept_says_since_when(tmp_path: Path) -> None:
    here = settings(tmp_path)
    kept = answers_of(here, "a", respondent())
    before = datetime.now(UTC)
    kept.add("k", Answer("text", "", 0.1))
    kept.flush()
    old = answers_of(here, "b", respondent(model="old")).path
    old.parent.mkdir(parents=True)
    old.write_bytes(b'\n{"asked":"k","at":1000,"text":"old","latency_s":0.1}\n')
    torn = answers_of(here, "b", respondent(model="torn")).path
    torn.write_bytes(b'\n{"asked":"k","at":10')
    os.utime(torn, (2000, 2000))
    found = {path: (pipeline, at) for pipeline, path, at in kept_files(here)}
    pipeline, at = found.pop(kept.path)
    assert pipeline == "a" and abs(at - before) < timedelta(minutes=1)
    assert found == {
        old: ("b", datetime.fromtimestamp(1000, UTC)),
        torn: ("b", datetime.fromtimestamp(2000, UTC)),
    }


def test_answers_that_cannot_be_written_or_read_are_said(tmp_path: Path) -> None:
    path = tmp_path / "taken" / "a.jsonl"
    kept = Answers(path)
    path.mkdir(parents=True)
    kept.add("k", Answer("text", "", 0.1))
    with pytest.raises(SetupError, match="cannot keep answers in .*taken: Is a directory -> free space"):
        kept.flush()
    with pytest.raises(SetupError, match="cannot keep answers in .*taken: Is a directory"):
        Answers(path)

"""Trainer and server are compared over real HTTP, with a server of one token a character."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.artifacts import Artifacts
from retune.errors import ArtifactError, BackendError, EndpointError
from retune.evaluation.parity import NEAR_TIE, NOT_RECORDED, check_parity, parted, recorded
from retune.evaluation.parity_server import Heard
from retune.settings import EndpointAddress
from retune.training.parity import ANSWER_TOKENS, FILE, Answer, ParityRecord, Probe
from tests.unit.serving.builders import adapter_files

END, END_TEXT = 0, "<end>"
SURE = 5.0
Turns = list[dict[str, str]]


def chat(messages: Turns) -> str:
    """The trainer's template, in which `|` stands for what begins and ends a turn."""
    return "".join(f"{turn['role']}|{turn['content']}|" for turn in messages) + "assistant|"


def characters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def answer(text: str, margin: float = SURE) -> Answer:
    """A greedy answer that ends."""
    ids = [*characters(text), END]
    texts = [text[: n + 1] for n in range(len(text))]
    return Answer(ids, [margin] * len(ids), [*texts, text], ended=True)


def probe(number: int, margin: float = SURE) -> Probe:
    messages = [{"role": "user", "content": f"question {number}"}]
    ids = characters(chat(messages))
    return Probe(
        messages, ids, [chr(token) for token in ids], chat(messages), answer(f"yes {number}", margin)
    )


def record(**changed: Any) -> ParityRecord:
    made = ParityRecord(
        template="sha256:" + "7" * 64,
        end=END,
        end_text=END_TEXT,
        as_trained=True,
        unanswered="",
        precision="float32",
        libraries={"transformers": "5.1", "tokenizers": "0.9"},
        probes=[probe(number) for number in range(8)],
    )
    return replace(made, **changed)


class Served:
    """vLLM's wire format; each part can be told to be another one than the trainer's."""

    def __init__(self) -> None:
        self.tokens: Callable[[Turns], list[int]] = lambda messages: characters(chat(messages))
        self.says: Callable[[str], tuple[list[int], str]] = lambda asked: (
            [*characters("yes " + asked[-1]), END],
            "stop",
        )
        self.knows_tokens = True
        self.error = ""
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.keys: set[str | None] = set()
        served = self

        class Answers(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                served.bodies.append((self.path, body))
                served.keys.add(self.headers["authorization"])
                status, found = served.reply(self.path, body)
                data = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.address = EndpointAddress(f"http://127.0.0.1:{self.http.server_port}", "a-secret")

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.error:
            return 500, {"error": {"message": self.error}}
        if path == "/v1/chat/completions":
            return self.complete(body)
        if not self.knows_tokens:
            return 404, {"detail": "Not Found"}
        if path == "/tokenize":
            return 200, {"tokens": self.tokens(body["messages"])}
        return 200, {"prompt": "".join(map(chr, body["tokens"]))}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        if not self.knows_tokens and {"return_token_ids", "repetition_penalty"} & body.keys():
            return 400, {"error": {"message": "unknown parameter"}}
        ids, reason = self.says(body["messages"][-1]["content"])
        text = "".join(chr(token) for token in ids if token != END)
        choice = {"message": {"content": text}, "finish_reason": reason}
        return 200, {"choices": [choice | ({"token_ids": ids} if self.knows_tokens else {})]}

    def said(self, wanted: ParityRecord | None = None) -> str:
        return check_parity(wanted or record(), self.address, "adapter")

    def refused(self, wanted: ParityRecord | None = None) -> str:
        with pytest.raises(EndpointError) as caught:
            self.said(wanted)
        assert all(problem.action for problem in caught.value.problems)
        return str(caught.value)


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()
    thread = threading.Thread(target=found.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


def other_words(*numbers: int) -> Callable[[str], tuple[list[int], str]]:
    """Answers as the trainer's, and otherwise to these questions."""

    def says(asked: str) -> tuple[list[int], str]:
        word = "no" if int(asked[-1]) in numbers else "yes"
        return [*characters(f"{word} {asked[-1]}"), END], "stop"

    return says


def test_a_server_that_agrees_is_said_to(served: Served) -> None:
    assert served.said() == (
        "8 of 8 prompts have the trainer's token ids; 8 of 8 greedy answers are the trainer's; <end> (id 0)"
        " ends them (transformers 5.1, tokenizers 0.9 in the trainer)"
    )
    assert {path for path, _ in served.bodies} == {"/tokenize", "/v1/chat/completions"}
    completions = [body for path, body in served.bodies if path.startswith("/v1")]
    assert [body["messages"] for body in completions] == [one.messages for one in record().probes]
    assert all(body["max_tokens"] == ANSWER_TOKENS and body["temperature"] == 0 for body in completions)
    assert {body["model"] for _, body in served.bodies} == {"adapter"}
    assert served.keys == {"Bearer a-secret"}


def test_another_template_is_refused_and_named_with_its_token(served: Served) -> None:
    served.tokens = lambda messages: characters(chat(messages).replace("user|", "user\n"))
    said = served.refused()
    assert "8 of 8 prompts by another chat template than the trainer's (sha256:7777" in said
    assert "Prompt 1, position 4: trainer '|' (id 124), server '\\n' (id 10)" in said
    assert "--chat-template" in said
    assert not [path for path, _ in served.bodies if path.startswith("/v1")], "nothing is generated"


@pytest.mark.parametrize(
    ("rendered", "expected"),
    [
        (lambda text: text.removesuffix("assistant|"), "trainer 'a' (id 97), server nothing (it ends there)"),
        (lambda text: text + "!", "trainer nothing (it ends there), server '!' (id 33)"),
    ],
)
def test_a_prompt_that_ends_elsewhere_is_refused(
    served: Served, rendered: Callable[[str], str], expected: str
) -> None:
    served.tokens = lambda messages: characters(rendered(chat(messages)))
    assert expected in served.refused()


def test_one_prompt_of_eight_is_enough(served: Served) -> None:
    served.tokens = lambda messages: characters(chat(messages).replace("question 5", "Question 5"))
    assert "1 of 8 prompts by another chat template" in served.refused()
    assert "Prompt 6, position 5: trainer 'q' (id 113), server 'Q' (id 81)" in served.refused()


def test_the_same_text_cut_otherwise_is_the_tokenizers_doing(served: Served) -> None:
    def joined(probe: Probe) -> Probe:
        """As by a tokenizer that has a token for `us`, which the server's spells."""
        return replace(probe, prompt=[1000, *probe.prompt[2:]], tokens=["us", *probe.tokens[2:]])

    said = served.refused(record(probes=[joined(one) for one in record().probes]))
    assert "the same text, cut otherwise than by the trainer's tokenizer (transformers 5.1" in said
    assert "position 0: trainer 'us' (id 1000), server 'u' (id 117)" in said


def test_a_server_that_runs_past_the_end_of_a_turn_is_refused(served: Served) -> None:
    served.says = lambda asked: ([*characters("yes " + asked[-1]), END, *characters("more")], "length")
    said = served.refused()
    assert "does not stop at '<end>' (id 0)" in said
    assert "put 0 into eos_token_id of generation_config.json" in said


def test_a_server_need_not_show_the_token_that_ended_it(served: Served) -> None:
    served.says = lambda asked: (characters("yes " + asked[-1]), "stop")
    assert "8 of 8 greedy answers are the trainer's;" in served.said()


def test_answers_that_differ_are_refused_but_for_one_outlier(served: Served) -> None:
    served.says = other_words(3)
    assert "7 of 8 greedy answers are the trainer's (1 not)" in served.said()
    served.says = other_words(3, 6)
    said = served.refused()
    assert "answers 2 of 8 prompts otherwise than the trainer did: prompt 4 with 'no 3'," in said
    assert "the trainer with 'yes 3': they part at token 0, where the trainer's margin was 5.0" in said


def test_of_few_answers_none_may_differ(served: Served) -> None:
    served.says = other_words(3)
    assert "answers 1 of 7 prompts otherwise" in served.refused(record(probes=record().probes[:7]))


def test_answers_that_part_at_a_near_tie_agree(served: Served) -> None:
    served.says = other_words(1, 2, 3)
    close = [probe(number, NEAR_TIE / 2 if number in (1, 2, 3) else SURE) for number in range(8)]
    assert "8 of 8 greedy answers are the trainer's (3 up to a near tie)" in served.said(record(probes=close))


def test_a_server_without_tokens_is_compared_by_its_answers(served: Served) -> None:
    served.knows_tokens = False
    said = served.said()
    assert said.startswith("the server has no /tokenize, so only answers were compared; 8 of 8 greedy")
    served.says = other_words(1, 2)
    assert "answers 2 of 8 prompts otherwise than the trainer did: prompt 2 with 'no 1'" in served.refused()
    served.says = lambda asked: (characters("yes " + asked[-1] + " more"), "length")
    assert "does not stop at '<end>'" in served.refused()


def test_what_was_not_recorded_is_said_and_asked_for(served: Served) -> None:
    assert check_parity(None, served.address, "adapter") == NOT_RECORDED
    assert served.said(record(probes=[])) == NOT_RECORDED
    assert served.bodies == []
    silent = record(unanswered="four bits", probes=[replace(one, answer=None) for one in record().probes])
    assert served.said(silent).endswith("token ids; answers were not compared: four bits")
    served.tokens = lambda messages: characters("another")
    assert "by another chat template" in served.refused(silent)
    served.knows_tokens = False
    assert served.said(silent).startswith("trainer and server were not compared: the server has no /tokenize")


def test_what_else_is_seen_is_said(served: Served) -> None:
    assert "though its training rows go on otherwise" in served.said(record(as_trained=False))
    ids = characters("y" * ANSWER_TOKENS)
    texts = ["y" * (n + 1) for n in range(ANSWER_TOKENS)]
    endless = Answer(ids, [SURE] * ANSWER_TOKENS, texts, ended=False)
    served.says = lambda asked: (ids, "length")
    said = served.said(record(probes=[replace(one, answer=endless) for one in record().probes]))
    assert said.endswith("none ends within 16 tokens, so whether <end> ends one was not seen")


def test_a_server_that_fails_is_an_error_without_the_key(served: Served) -> None:
    served.error = "the key a-secret is broken"
    assert "/tokenize answered 500" in served.refused()
    assert "a-secret" not in served.refused()
    nobody = EndpointAddress("http://127.0.0.1:9", "a-secret")
    with pytest.raises(EndpointError, match="does not answer"):
        check_parity(record(), nobody, "adapter")


def test_a_server_that_answers_nonsense_is_an_error(served: Served) -> None:
    served.tokens = lambda messages: "many"  # type: ignore[assignment, return-value]
    assert "/tokenize answered 200" in served.refused()
    served.tokens = lambda messages: characters(chat(messages))
    served.complete = lambda body: (200, {"choices": []})  # type: ignore[method-assign]
    assert "/v1/chat/completions answered 200" in served.refused()


def test_the_record_is_read_from_the_stored_adapter(tmp_path: Path) -> None:
    artifacts = Artifacts(f"file://{tmp_path}/store")
    folder = adapter_files(tmp_path / "adapter")
    assert recorded(artifacts.put_tree(folder).digest, artifacts) is None
    (folder / FILE).write_text(json.dumps(asdict(record())))
    assert recorded(artifacts.put_tree(folder).digest, artifacts) == record()
    (folder / FILE).write_text("{}")
    with pytest.raises(BackendError, match="not a record that this version knows"):
        recorded(artifacts.put_tree(folder).digest, artifacts)
    with pytest.raises(ArtifactError):
        recorded("sha256:" + "0" * 64, artifacts)


@given(st.lists(st.integers(1, 3), max_size=ANSWER_TOKENS), st.booleans(), st.data())
def test_where_answers_part_is_the_first_token_that_differs(
    words: list[int], ended: bool, data: st.DataObject
) -> None:
    ids = [*words[: ANSWER_TOKENS - 1], END] if ended or len(words) < ANSWER_TOKENS else words
    expected = Answer(ids, [SURE] * len(ids), [""] * len(ids), ended=ids[-1] == END)
    asked = replace(probe(0), answer=expected)
    assert parted(asked, Heard("", ids, expected.ended)) is None
    place = data.draw(st.integers(0, len(ids) - 1))
    rest = data.draw(st.lists(st.integers(0, 4), max_size=4))
    heard = [*ids[:place], 4, *rest]
    assert parted(asked, Heard("", heard, data.draw(st.booleans()))) == place
    cut = Heard("", ids[:place], False)
    assert parted(asked, cut) == place

"""Answers on this host's disk: an evaluation that was killed goes on where it stopped.

One file holds the answers of one model at one place with one decoding, a line each, under
`<home>/answers/<pipeline>`. Files only grow, so that several processes may write to one at once; what a
kill tore is passed over. Answers are users' texts: `retune cleanup` and `retune forget`
remove them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from retune.artifacts import canonical_json
from retune.errors import SetupError
from retune.evaluation.respondents import Answer, Respondent, chat_turns
from retune.settings import Settings
from retune.text.conversations import Message

_encoder = msgspec.json.Encoder()


class _Line(msgspec.Struct, omit_defaults=True, gc=False):
    asked: str
    at: int
    """Seconds since 1970."""
    text: str
    latency_s: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False


_decoder = msgspec.json.Decoder(_Line)


class Answers:
    """The answers of one model at one place with one decoding.

    Args:
        path: Their file; it need not exist.

    Raises:
        SetupError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[_Line] = []
        self._known: dict[str, Answer] = {}
        try:
            for line in _lines(path):
                counts = (line.prompt_tokens, line.completion_tokens, line.cut)
                # The first counts: who asked at the same time may have had another.
                self._known.setdefault(line.asked, Answer(line.text, "", line.latency_s, *counts))
        except OSError as error:
            raise _no_place(path, error) from error

    def get(self, key: str) -> Answer | None:
        """Return the answer to a question, or None where it was not asked.

        Args:
            key: By `key_of`.
        """
        return self._known.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Take an answer; `flush` writes it. Calls that failed are not kept: they are asked again.

        Args:
            key: By `key_of`.
            answer: What came.
        """
        if answer.error or key in self._known:
            return
        self._known[key] = answer
        counts = (answer.prompt_tokens, answer.completion_tokens, answer.cut)
        self._waiting.append(_Line(key, int(time.time()), answer.text, answer.latency_s, *counts))

    def flush(self) -> None:
        """Write what was added since the last time.

        Raises:
            SetupError: It cannot be written.
        """
        if not self._waiting:
            return
        # Begins with a line feed: a line that a killed process left torn does not swallow the next.
        data = b"\n" + _encoder.encode_lines(self._waiting)
        self._waiting = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write in append mode: those of other processes go before or after it, not into it.
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as error:
            raise _no_place(self.path, error) from error


def answers_of(settings: Settings, pipeline: str, respondent: Respondent, model_digest: str = "") -> Answers:
    """Return the answers that are kept of a respondent.

    Args:
        settings: Says where this host's working files lie.
        pipeline: Whose questions they are.
        respondent: Says its place, its model's name and its decoding.
        model_digest: Of the model's weights, where it is known: a name may come to stand for others.
    """
    identity = hashlib.sha256(canonical_json([respondent.identity, model_digest])).hexdigest()
    return Answers(_folder(settings) / pipeline / f"{identity[:32]}.jsonl")


def key_of(messages: Sequence[Message]) -> str:
    """Return 64 hex digits over all that a model is shown."""
    return hashlib.sha256(_encoder.encode(chat_turns(messages))).hexdigest()


def kept_files(settings: Settings) -> Iterator[tuple[str, Path, datetime]]:
    """Yield pipeline, file and the time of its first answer, of all that is kept on this host."""
    for path in sorted(_folder(settings).glob("*/*.jsonl")):
        try:
            at = next((line.at for line in _lines(path)), None) or path.stat().st_mtime
        except FileNotFoundError:
            continue  # another process removed it
        yield path.parent.name, path, datetime.fromtimestamp(at, UTC)


def _no_place(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"cannot keep answers in {path.parent}: {error.strerror or error}",
        "free space there, or set RETUNE_HOME to another disk",
    )


def _folder(settings: Settings) -> Path:
    return settings.home / "answers"


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the whole lines of a file; what is torn, or no answer, is passed over."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                yield _decoder.decode(line)
            except ValueError:
                continue

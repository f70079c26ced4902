"""Train/serve parity: before a score of an adapter counts, server and trainer must be seen to agree.

The same conversations must give the same token ids, the token that ends a turn must end an answer,
and greedy answers must be the trainer's. The server has a tokenizer library, kernels and often a
precision of its own, so the last holds only up to near ties: a token that the trainer preferred to
the next by less than `NEAR_TIE` may come out otherwise, and what follows it is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.evaluation.parity_server import Heard, Server
from retune.settings import EndpointAddress
from retune.training.parity import ANSWER_TOKENS, FILE, Answer, ParityRecord, Probe, parse

NOT_COMPARED = "trainer and server were not compared:"
NOT_RECORDED = f"{NOT_COMPARED} the model's training recorded nothing to compare"
NEAR_TIE = 0.3
"""Standard deviations of the logits. Half precision moves a logit by up to 0.15 of them (what the
trainer's probing of base models allows too); to swap two takes both."""
_ODD_SHARE = 8
"""One answer in so many may differ all the same: an outlier of low precision. What is wrong with a
template, an adapter or its scale changes most of them."""


def recorded(digest: str, artifacts: Artifacts) -> ParityRecord | None:
    """Return what an adapter's training recorded, or None where it is older than such records.

    Args:
        digest: The adapter's.
        artifacts: Where it is stored.

    Raises:
        ArtifactError: It is missing or damaged.
        BackendError: The record is one that this version does not know.
    """
    file = artifacts.manifest(digest).get(FILE)
    return parse(artifacts.get_bytes(file)) if file else None


def check_parity(
    record: ParityRecord | None, endpoint: EndpointAddress, model: str, timeout_s: float = 60.0
) -> str:
    """Compare a server with the trainer, and say what was seen.

    Args:
        record: The trainer's, see `recorded`.
        endpoint: The server; a vLLM replica, or another server of OpenAI's API, of which only the
            answers can be compared.
        model: What the server calls the adapter, which is loaded.
        timeout_s: Of one request.

    Returns:
        A sentence for `EvalReport.parity`.

    Raises:
        EndpointError: They differ (which template, which token), or the server does not answer.
    """
    if record is None or not record.probes:
        return NOT_RECORDED
    with Server(endpoint, model, timeout_s) as server:
        first = server.tokens(record.probes[0].messages)
        if first is None and record.unanswered:
            return f"{NOT_COMPARED} the server has no /tokenize, and of answers: {record.unanswered}"
        if first is None:
            prompts = "the server has no /tokenize, so only answers were compared"
        else:
            rest = [server.tokens(probe.messages) or [] for probe in record.probes[1:]]
            _check_prompts(record, [first, *rest], server)
            count = len(record.probes)
            prompts = f"{count} of {count} prompts have the trainer's token ids"
            if not record.as_trained:
                prompts += " (though its training rows go on otherwise after the question)"
        if record.unanswered:
            return f"{prompts}; answers were not compared: {record.unanswered}"
        heard = [server.answer(probe.messages, ids=first is not None) for probe in record.probes]
    return f"{prompts}; {_check_answers(record, heard, server.address)}"


def parted(probe: Probe, heard: Heard) -> int | None:
    """Return at which of the trainer's tokens an answer parts from it; None where it does not.

    One that has all of the trainer's tokens and goes on parts at the last, which did not end it.
    """
    expected = probe.answer
    if expected is None:
        return None
    last = len(expected.ids) - 1
    if heard.ids is None:
        return _parted_texts(expected, heard, last)
    ids, by_itself = heard.ids, expected.ended or len(expected.ids) < ANSWER_TOKENS
    if by_itself and heard.stopped and ids == expected.ids[:-1]:
        return None  # servers differ in whether they show the token that ended it
    other = next(
        (n for n, pair in enumerate(zip(ids, expected.ids, strict=False)) if pair[0] != pair[1]), None
    )
    if other is not None:
        return other
    if len(ids) < len(expected.ids):
        return len(ids)
    return None if not by_itself or (heard.stopped and len(ids) == len(expected.ids)) else last


def _parted_texts(expected: Answer, heard: Heard, last: int) -> int | None:
    if heard.text.strip() == expected.texts[last].strip() and heard.stopped == expected.ended:
        return None
    # A letter of several tokens is not whole before its last one.
    shown = [text.rstrip("\ufffd") for text in expected.texts]
    return next((n for n, text in enumerate(shown) if not heard.text.startswith(text)), last)


def _check_prompts(record: ParityRecord, rendered: Sequence[list[int]], server: Server) -> None:
    different = [
        (number, probe, ids)
        for number, (probe, ids) in enumerate(zip(record.probes, rendered, strict=True), start=1)
        if ids != probe.prompt
    ]
    if not different:
        return
    number, probe, ids = different[0]
    pairs = zip(probe.prompt, ids, strict=False)
    place = next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), -1)
    if place < 0:
        place = min(len(probe.prompt), len(ids))
    ours = _named(probe.prompt, place, probe.tokens[place : place + 1])
    theirs = _named(ids, place, [server.text(ids[place : place + 1])] if place < len(ids) else [])
    # The same text cut otherwise is the tokenizer's doing, not the template's.
    is_template = server.text(ids) != probe.text
    what, action = (
        (
            f"another chat template than the trainer's ({record.template})",
            "start the server with the base model's folder that it was trained on, or with that folder's"
            " template (`--chat-template`), or train again on the server's folder",
        )
        if is_template
        else (
            f"the same text, cut otherwise than by the trainer's tokenizer ({_libraries(record)})",
            "start the server with the base model's folder that it was trained on; if it has, its"
            " tokenizer library is to blame: take one of the trainer's version",
        )
    )
    raise EndpointError(
        f"{server.address} renders {len(different)} of {len(record.probes)} prompts by {what}."
        f" Prompt {number}, position {place}: trainer {ours}, server {theirs}",
        action,
    )


def _check_answers(record: ParityRecord, heard: Sequence[Heard], address: str) -> str:
    """Return what was seen; raises EndpointError where it is not what the trainer saw."""
    near, unstopped, different = 0, [], []
    for number, (probe, found) in enumerate(zip(record.probes, heard, strict=True), start=1):
        place, answer = parted(probe, found), probe.answer
        if place is None or answer is None:
            continue
        if _runs_on(answer, found, place):
            unstopped.append(f"prompt {number} went on to {found.text!r}")
        elif answer.margins[place] < NEAR_TIE:
            near += 1
        else:
            different.append(
                f"prompt {number} with {found.text!r}, the trainer with {answer.texts[-1]!r}: they part at"
                f" token {place}, where the trainer's margin was {answer.margins[place]:.1f} (a near tie is"
                f" below {NEAR_TIE})"
            )
    count = len(record.probes)
    if unstopped:
        raise EndpointError(
            f"{address} does not stop at {record.end_text!r} (id {record.end}), which the chat template puts"
            f" after an answer and the model was trained to end with: {unstopped[0]}",
            f"put {record.end} into eos_token_id of generation_config.json in the base model's folder, and"
            " start the server again",
        )
    if len(different) > count // _ODD_SHARE:
        raise EndpointError(
            f"{address} answers {len(different)} of {count} prompts otherwise than the trainer did:"
            f" {different[0]}",
            "see that the server has loaded this adapter, on the base model's weights that it was trained"
            " on, not quantised",
        )
    notes = [f"{near} up to a near tie"] * bool(near) + [f"{len(different)} not"] * bool(different)
    beside = f" ({', '.join(notes)})" if notes else ""
    return f"{count - len(different)} of {count} greedy answers are the trainer's{beside}; {_end(record)}"


def _runs_on(answer: Answer, heard: Heard, place: int) -> bool:
    """Say whether a server got the token that ends a turn, and went on."""
    if not answer.ended or place != len(answer.ids) - 1:
        return False
    if heard.ids is None:
        return not heard.stopped and answer.margins[place] >= NEAR_TIE
    return heard.ids[place : place + 1] == answer.ids[-1:]


def _end(record: ParityRecord) -> str:
    if not any(probe.answer and probe.answer.ended for probe in record.probes):
        return f"none ends within {ANSWER_TOKENS} tokens, so whether {record.end_text} ends one was not seen"
    return f"{record.end_text} (id {record.end}) ends them ({_libraries(record)} in the trainer)"


def _libraries(record: ParityRecord) -> str:
    return ", ".join(f"{name} {record.libraries.get(name, '?')}" for name in ("transformers", "tokenizers"))


def _named(ids: Sequence[int], place: int, text: Sequence[str]) -> str:
    return f"{text[0]!r} (id {ids[place]})" if place < len(ids) else "nothing (it ends there)"

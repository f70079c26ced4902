"""What the server is compared with: how the trainer renders probes, and how it answers them.

`parity.json` lies beside an adapter's weights and becomes part of it. A model outlives the rows that
it was trained on, and a person's rows can be erased where rows lie but not inside a model. So the
probes have the shape of the validation side (which roles take turns, the system prompt that all its
rows share) and sentences of our own, none of a row. These hold what tokenizers cut differently:
capitals, digits, runs of spaces, accents, other scripts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retune.errors import BackendError
from retune.training import adapter, attention, conversations, tokens
from retune.training.conversations import Row
from retune.training.job import TrainingJob, write_json

FILE = "parity.json"
ANSWER_TOKENS = 16
_VERSION = 1
_SENTENCES = (
    "Hello, I have a question about my account.",
    "Order 1,234.50 of 2026-11-23 is not here.",
    "Zürich: 3 × 12 € is naïve, “they” say…",
    "Please help!  Two  spaces,\ta tab\nand a line.",
    "北京 🙂 привет",
    "WHY WAS I CHARGED TWICE???",
    "def f(x): return x ** 2  # code",
    "ok",
)
_REPLY = "Thank you. Which one do you mean?"
_SYSTEM = "You are a helpful assistant."
_SHAPES, _MOST_TURNS = 2, 7
_LIBRARIES = ("transformers", "tokenizers", "torch", "peft", "trl")

Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """A greedy answer, token by token.

    Attributes:
        ids: Token ids, with the one that ended it; at most `ANSWER_TOKENS`.
        margins: How far each token's logit was above the second, in standard deviations of all
            logits there.
        texts: The text so far after each token, without special tokens.
        ended: Whether the last token is the end of the assistant's turn.
    """

    ids: list[int]
    margins: list[float]
    texts: list[str]
    ended: bool


@dataclass(frozen=True)
class Probe:
    """One conversation that trainer and server both render and answer.

    Attributes:
        messages: The turns up to the one that is asked for.
        prompt: Token ids, with the generation prompt.
        tokens: Each of them as text.
        text: All of them as text.
        answer: None where answers were not recorded.
    """

    messages: Turns
    prompt: list[int]
    tokens: list[str]
    text: str
    answer: Answer | None = None


@dataclass(frozen=True)
class ParityRecord:
    """What `parity.json` holds.

    Attributes:
        template: Digest of the base model's chat template, as recipes have it.
        end: Id of the token that the template puts after an assistant's turn.
        end_text: That token.
        as_trained: Whether the validation rows, as trained on, begin as they are asked.
        unanswered: Why answers were not recorded; empty where they were.
        precision: What the answers were computed in.
        libraries: Versions of the trainer's libraries.
        probes: Empty where none fits into `max_length`.
    """

    template: str
    end: int
    end_text: str
    as_trained: bool
    unanswered: str
    precision: str
    libraries: dict[str, str]
    probes: list[Probe]
    schema_version: int = _VERSION


def write(record: ParityRecord, folder: Path) -> None:
    """Put a record into a model's folder."""
    write_json(folder / FILE, asdict(record))


def parse(data: bytes) -> ParityRecord:
    """Return the record that a `parity.json` holds.

    Raises:
        BackendError: It is no such record, or one of a later version.
    """
    try:
        found = json.loads(data)
        if found["schema_version"] != _VERSION:
            raise ValueError(f"schema_version {found['schema_version']}")
        probes = [
            Probe(**probe | {"answer": Answer(**probe["answer"]) if probe["answer"] else None})
            for probe in found["probes"]
        ]
        return ParityRecord(**found | {"probes": probes})
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(
            f"{FILE} is not a record that this version knows: {type(error).__name__}: {error}",
            "use a version of Retune not older than the trainer's, or train again",
        ) from error


def questions(rows: Sequence[Row]) -> list[Turns]:
    """Return the probes' conversations: shaped as the rows are, with sentences of our own.

    Args:
        rows: Of the validation side.
    """
    asked = [_context(row["messages"]) for row in rows]
    shapes = Counter(tuple(turn["role"] for turn in turns) for turns in asked)
    fit = [
        shape
        for shape, _ in shapes.most_common()
        if 0 < len(shape) <= _MOST_TURNS and set(shape) <= {"system", "user", "assistant"}
    ][:_SHAPES]
    firsts = [turns[0]["content"] for turns in asked if turns and turns[0]["role"] == "system"]
    # One that rows share is the pipeline's; of others a row's owner may have said something in it.
    is_shared = len(set(firsts)) == 1 and len(firsts) > max(1, len(asked) // 2)
    system = firsts[0] if is_shared else _SYSTEM
    return [_filled(fit[number % len(fit)], number, system) for number in range(len(_SENTENCES)) if fit]


def record(
    model: Any, tokenizer: Any, job: TrainingJob, rows: tokens.TokenRows, max_length: int, unanswered: str
) -> ParityRecord:
    """Render the probes, and answer them with the trained model as it is.

    Args:
        model: With its best adapter, see `use_best`.
        tokenizer: The base model's.
        job: Whose validation side gives the shape.
        rows: The validation side as tokens.
        max_length: Tokens that prompt and answer may have together.
        unanswered: Why the model cannot be asked; empty where it can.
    """
    template = tokens.training_template(tokenizer, job.base_model)
    own = tokenizer.chat_template
    own = own["default"] if isinstance(own, dict) else own
    validation = conversations.read(Path(job.validation), job.method)
    asked = [_context(row["messages"]) for row in validation[: len(_SENTENCES)]]
    end = _end_of_turn(rows, tokenizer)
    rendered = [(turns, _rendered(turns, tokenizer, template)) for turns in questions(validation)]
    fitting = [(turns, ids) for turns, ids in rendered if len(ids) + ANSWER_TOKENS <= max_length]
    answers: list[Answer | None] = [None] * len(fitting)
    if not unanswered:
        try:
            answers = [_answer(model, tokenizer, ids, end) for _, ids in fitting]
        except Exception as error:  # no training that has ended well is lost for its probes
            unanswered = f"the trainer could not make them ({type(error).__name__}: {error})".splitlines()[0]
    rows_each = 2 if job.method == "dpo" else 1
    return ParityRecord(
        template="sha256:" + hashlib.sha256(str(own).encode()).hexdigest(),
        end=end,
        end_text=tokenizer.decode([end]),
        as_trained=all(
            _begins(rows.row(number * rows_each)[0], _rendered(turns, tokenizer, template))
            for number, turns in enumerate(asked)
            if turns
        ),
        unanswered=unanswered,
        precision=str(model.dtype).removeprefix("torch."),
        libraries={name: version(name) for name in _LIBRARIES},
        probes=[
            Probe(turns, ids, [tokenizer.decode([token]) for token in ids], tokenizer.decode(ids), answer)
            for (turns, ids), answer in zip(fitting, answers, strict=True)
        ],
    )


def use_best(model: Any, folder: Path) -> None:
    """Give a model that has just trained its best adapter, and an attention that answers."""
    import peft

    library: Any = peft
    library.set_peft_model_state_dict(model, dict(adapter.tensors(folder / adapter.WEIGHTS, "the adapter")))
    if model.config._attn_implementation == attention.NAME:
        model.set_attn_implementation("eager")  # ours knows rows in a line, but no cache
    model.eval()


def _context(turns: Turns) -> Turns:
    """Return the turns before the last answer; none where there is no answer."""
    last = max((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), default=0)
    return turns[:last]


def _filled(shape: Sequence[str], number: int, system: str) -> Turns:
    texts = {"system": system, "assistant": _REPLY}
    return [
        {"role": role, "content": texts.get(role, _SENTENCES[(number + place) % len(_SENTENCES)])}
        for place, role in enumerate(shape)
    ]


def _rendered(turns: Turns, tokenizer: Any, template: str) -> list[int]:
    found = tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(found["input_ids"])


def _begins(row: Any, prompt: list[int]) -> bool:
    return bool(row[: len(prompt)].tolist() == prompt)


def _end_of_turn(rows: tokens.TokenRows, tokenizer: Any) -> int:
    """Return the last learned token that is not blank, as templates put a line's end after it."""
    ids, learned = rows.row(0)
    found: list[int] = ids[learned].tolist()
    return next(token for token in reversed(found) if tokenizer.decode([token]).strip())


def _answer(model: Any, tokenizer: Any, prompt: list[int], end: int) -> Answer:
    """Answer by the likeliest token each time, heeding nothing of the model's generation settings."""
    import torch

    device = next(model.parameters()).device
    configured = model.generation_config.eos_token_id
    stops = {end, *(configured if isinstance(configured, list) else [configured])}
    found: list[int] = []
    margins, cache, line = [], None, prompt
    with torch.no_grad():
        while len(found) < ANSWER_TOKENS and not stops & set(found[-1:]):
            given = torch.tensor([line], device=device)
            result = model(input_ids=given, past_key_values=cache, use_cache=True)
            cache, logits = result.past_key_values, result.logits[0, -1].float()
            best = logits.topk(2)
            found.append(int(best.indices[0]))
            margins.append(round(float((best.values[0] - best.values[1]) / logits.std()), 3))
            line = found[-1:]
    texts = [tokenizer.decode(found[: n + 1], skip_special_tokens=True) for n in range(len(found))]
    return Answer(found, margins, texts, found[-1] == end)

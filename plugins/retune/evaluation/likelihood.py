"""How likely a served model finds the expected texts.

vLLM tells it of a prompt's tokens, so a conversation is sent with its expected answer and one token more is
asked for. Neither OpenAI nor Vertex AI tells the probabilities of a text that the model did not write.
Source: vLLM 0.32, `prompt_logprobs` and `continue_final_message` in
entrypoints/openai/chat_completion/protocol.py, `/tokenize` in entrypoints/serve/tokenize/protocol.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from retune.errors import EndpointError
from retune.evaluation.answers import Answers
from retune.evaluation.client import ask_all
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.patience import Refusal
from retune.evaluation.respondents import Answer, chat_turns
from retune.records import Outcome
from retune.text.conversations import Message

_NO_SUCH_CALL = frozenset({404, 405, 501})
# transformers, of a template that drops what it should continue: the conversation follows, word for word.
_QUOTES = "Final message to continue"


class Likelihood(msgspec.Struct, frozen=True):
    """How likely a text was.

    Attributes:
        logprob: Natural logarithm of its probability.
        tokens: How many it is made of.
    """

    logprob: float
    tokens: int


class _Token(msgspec.Struct, gc=False):
    logprob: float
    decoded_token: str | None = None


class _Scored(msgspec.Struct, gc=False):
    prompt_logprobs: list[dict[int, _Token] | None] | None = None


class _Tokens(msgspec.Struct, gc=False):
    tokens: list[int]


_scored, _tokens = msgspec.json.Decoder(_Scored), msgspec.json.Decoder(_Tokens)
_likelihood = msgspec.json.Decoder(Likelihood)


class LikelihoodRespondent(EndpointRespondent):
    """A model on an endpoint of one's own that says, in place of an answer, how likely the last turn is.

    Its answers' texts are a Likelihood as JSON, so that they are asked, kept and resumed as others are.
    Of the turn its text counts, neither its end nor what it calls.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """As any answers' of the endpoint, and that it is likelihoods."""
        return {**super().identity, "likelihood": True}

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Return the last turn's Likelihood; raises EndpointError where the server cannot tell it."""
        return await self._patience.answer(partial(self._told, messages))

    async def _told(self, messages: Sequence[Message]) -> Answer | Refusal:
        # Templates put calls before the text, after it, or in its place.
        last = Message(role="assistant", content=messages[-1].content)
        asked = {"model": self._model, "messages": chat_turns(messages[:-1]), "add_generation_prompt": True}
        tokenized = await self._looked("/tokenize", asked)
        if isinstance(tokenized, Refusal):
            return tokenized
        whole = {
            "model": self._model,
            "messages": chat_turns((*messages[:-1], last)),
            "add_generation_prompt": False,
            "continue_final_message": True,
            "prompt_logprobs": 0,
            "max_tokens": 1,
            "temperature": 0.0,
        }
        found = await self._looked("/v1/chat/completions", whole)
        if isinstance(found, Refusal):
            return found
        try:
            before, told = _tokens.decode(tokenized[0]).tokens, _scored.decode(found[0]).prompt_logprobs
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._untold(f"what it says cannot be read: {error}") from None
        likelihood = self._of_answer(before, told or [], last.content.strip())
        return Answer(msgspec.json.encode(likelihood).decode(), "", found[1])

    async def _looked(self, path: str, body: Mapping[str, Any]) -> tuple[bytes, float] | Refusal:
        found = await self._called("POST", path, msgspec.json.encode(body))
        if not isinstance(found, Refusal):
            return found
        if found.status in _NO_SUCH_CALL:
            raise self._untold(found.said)
        return replace(found, said=found.said.partition(_QUOTES)[0])

    def _of_answer(self, before: list[int], told: list[dict[int, _Token] | None], answer: str) -> Likelihood:
        """Return the likelihood of what comes after the prompt's tokens, which must be the answer."""
        if not told:
            raise self._untold("its answers have no prompt_logprobs")
        ids = [next(iter(one)) if one else None for one in told]
        # Of the first token nothing is told; it is the prompt's.
        pairs = enumerate(zip(before[1:], ids[1:], strict=False), start=1)
        same = next((at for at, (one, other) in pairs if one != other), min(len(before), len(ids)))
        # The prompt's last token may grow into the answer's first one.
        if same < len(before) - 1 or same == len(ids):
            raise self._untold(f"its template does not put the answer after the prompt (token {same + 1})")
        tokens = [next(iter(one.values())) for one in told[same:] if one]
        if not _begin(tokens, answer, shared=same < len(before)):
            raise self._untold("its template puts something between the prompt and the answer")
        return Likelihood(sum(one.logprob for one in tokens), len(tokens))

    def _untold(self, why: str) -> EndpointError:
        return EndpointError(
            f"{self.address} does not tell how likely a text is: {why}",
            "take perplexity out of evaluation.metrics, or serve the model by vLLM",
        )


def _begin(tokens: Sequence[_Token], answer: str, *, shared: bool) -> bool:
    """Say whether tokens begin an answer; those that do not say what they are may.

    Args:
        tokens: From the first that is not the prompt's.
        answer: What they should be, without outer white space.
        shared: Whether the first of them holds the prompt's end too.
    """
    for place, token in enumerate(tokens):
        text = (token.decoded_token or "").strip()
        if "\ufffd" in text:  # a part of a character
            return True
        if text:
            ends = range(len(text)) if shared and not place else range(1)
            return any(answer.startswith(text[start:]) for start in ends)
    return True


def with_likelihoods(
    outcomes: Sequence[Outcome],
    conversations: Sequence[Sequence[Message]],
    respondent: LikelihoodRespondent,
    *,
    max_in_flight: int,
    report: Callable[[str], None],
    answers: Answers | None = None,
) -> list[Outcome]:
    """Return outcomes with how likely each expected text was, and say of how many it is not known.

    One that is empty is not asked.

    Args:
        outcomes: What a contender answered.
        conversations: What it was shown, and the answer that was expected, in their order.
        respondent: The contender's.
        max_in_flight: Most calls under way at once.
        report: Takes a progress line every few seconds.
        answers: Those that are kept; new ones join them. None: none are kept.

    Raises:
        EndpointError: The server does not tell it, cannot be reached, or stopped answering.
        SetupError: Answers cannot be kept.
    """
    places = [at for at, messages in enumerate(conversations) if messages[-1].content.strip()]
    asking = ask_all(
        [conversations[at] for at in places],
        respondent,
        max_in_flight=max_in_flight,
        report=report,
        answers=answers,
    )
    found, untold = list(outcomes), ["it is empty"] * (len(outcomes) - len(places))
    for at, answer in zip(places, asyncio.run(asking), strict=True):
        if answer.error:
            untold.append(answer.error)
            continue
        told = _likelihood.decode(answer.text)
        more = {"expected_logprob": told.logprob, "expected_tokens": told.tokens}
        found[at] = found[at].model_copy(update=more)
    if untold:
        few = f"{len(untold):,} of {len(outcomes):,} expected texts"
        report(f"how likely {few} are is not known, such as: {untold[-1]:.300}")
    return found

"""Models of Vertex AI: base models, and tuned ones at their endpoints.

How a model's thinking is turned off is told by its family only: `thinking_budget` 0 for Gemini 2.5
Flash, `thinking_level` from Gemini 3 on, and some models think at least a little
(docs.cloud.google.com/gemini-enterprise-agent-platform/models/thinking). An endpoint's name does not
tell the family, so what turns it off furthest is tried first, and a refusal that speaks of thinking is
heeded. Off or lowest is what Google advises for tuned models, as they learn answers without thoughts
(cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-tuning).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from retune.errors import EndpointError, SetupError
from retune.evaluation.patience import Patience, Refusal, refusal_of
from retune.evaluation.respondents import PING, Answer, readable
from retune.settings import GoogleAccount
from retune.text.conversations import Conversation, Message
from retune.text.formats import gemini_rows

if TYPE_CHECKING:
    from google.genai import Client, types

_SHOWN = 600
_RETRIES = 4
_THINKING: tuple[Mapping[str, Any], ...] = (
    {"thinking_budget": 0},
    {"thinking_level": "MINIMAL"},
    {"thinking_level": "LOW"},
    {"thinking_budget": 128},
    {},
)
"""From no thinking at all, by the least that a model may take, to what it does by itself."""
_ACTIONS = {
    401: "give connection {connection!r} a service account's key that is valid, and no expired token",
    403: "grant the account of connection {connection!r} roles/aiplatform.user on project {project}",
    404: "see whether location {location} has it, and whether it was retired or removed",
    429: "ask for more of the quota, or lower evaluation.max_in_flight",
}


class VertexRespondent:
    """A model of Vertex AI.

    Args:
        account: The project and its credentials.
        connection: The account's name, for errors.
        location: The region that is asked; an endpoint's name says its own.
        model: A base model such as `gemini-2.5-flash`, or `projects/P/locations/L/endpoints/ID`.
        max_tokens: Longest answer.
        timeout_s: Of one try of one call.
    """

    def __init__(
        self,
        account: GoogleAccount,
        connection: str,
        location: str,
        model: str,
        *,
        max_tokens: int,
        timeout_s: float,
    ) -> None:
        self._account = account
        self._connection = connection
        self._location = model.split("/")[3] if model.startswith("projects/") else location
        self._model = model
        self._max_tokens = max_tokens
        self._timeout_s = timeout_s
        self._thinking = _THINKING[0]
        known = {"connection": connection, "project": account.project, "location": self._location}
        self._actions = {code: text.format(**known) for code, text in _ACTIONS.items()}
        self._patience = Patience(self.address, _RETRIES)

    priced_as = "vertex"

    @property
    def address(self) -> str:
        """The project and the region."""
        return f"Vertex AI (project {self._account.project}, {self._location})"

    @property
    def identity(self) -> dict[str, Any]:
        """The project, the region, the model, and the decoding that is wanted."""
        return {
            "url": self._account.endpoint,
            "project": self._account.project,
            "location": self._location,
            "model": self._model,
            "max_tokens": self._max_tokens,
            "temperature": 0.0,
        }

    @cached_property
    def _client(self) -> Client:
        try:
            from google import genai
            from google.genai import types
        except ImportError as error:
            raise SetupError(
                f"{self._model!r} cannot be asked: {error}", "install the `vertex` extra"
            ) from error
        return genai.Client(
            vertexai=True,
            project=self._account.project,
            location=self._location,
            credentials=self._account.credentials,
            http_options=types.HttpOptions(
                base_url=self._account.endpoint or None,
                timeout=max(1, round(1000 * self._timeout_s)),
                # Each call would count its own tries, and run on into a quota that others have met.
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

    async def check(self) -> None:
        """Ask the model once, and see how far its thinking can be turned off.

        Raises:
            EndpointError: Vertex AI does not answer, or not as this model.
        """
        found = Refusal("")
        for thinking in _THINKING:
            self._thinking = thinking
            result = await self._patience.settled(partial(self._tried, PING))
            if isinstance(result, Answer):
                return
            found = result
            if found.status != 400 or "thinking" not in found.said.lower():
                break
        raise EndpointError(
            f"{self.address} does not answer as {self._model!r}: {found.said}",
            found.action or self._actions.get(found.status, f"see connection {self._connection!r}"),
        )

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Answer greedily, with as little thinking as the model allows.

        Raises:
            EndpointError: No other question would be answered either.
        """
        return await self._patience.answer(partial(self._tried, messages))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()
        self._client.close()

    async def _tried(self, messages: Sequence[Message]) -> Answer | Refusal:
        """Make one try."""
        client = self._client  # an SDK that is missing is no refusal
        from google.auth.exceptions import RefreshError
        from google.genai.errors import APIError

        start = time.perf_counter()
        try:
            response = await self._generate(client, messages)
        except Exception as error:  # the SDK, its transports and google.auth raise many kinds
            taken, said = time.perf_counter() - start, _said(error)
            if isinstance(error, APIError):
                headers = getattr(error.response, "headers", None) or {}
                return refusal_of(error.code, said, headers, self._actions, taken)
            if isinstance(error, RefreshError) and not error.retryable:
                return Refusal(said, action=self._actions[401], latency_s=taken)
            # What is wrong with the question, or with what came: not the way there.
            return Refusal(said, may_pass=not isinstance(error, ValueError | TypeError), latency_s=taken)
        return _read(response, time.perf_counter() - start)

    async def _generate(self, client: Client, messages: Sequence[Message]) -> types.GenerateContentResponse:
        from google.genai import types

        # As in the rows that models are tuned on.
        asked = gemini_rows.SFT.row_of(Conversation("", tuple(messages)))
        return await client.aio.models.generate_content(
            model=self._model,
            contents=asked["contents"],
            config=types.GenerateContentConfig(
                system_instruction=asked.get("systemInstruction"),
                temperature=0.0,
                max_output_tokens=self._max_tokens,
                thinking_config=types.ThinkingConfig(**self._thinking) if self._thinking else None,
            ),
        )


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]


def _read(response: types.GenerateContentResponse, latency_s: float) -> Answer:
    """Return a response's text, or why it has none."""
    first = response.candidates[0] if response.candidates else None
    parts = (first.content.parts if first and first.content else None) or ()
    texts = [part.text for part in parts if part.text is not None and not part.thought]
    usage, reason = response.usage_metadata, first.finish_reason if first else None
    thought = usage.thoughts_token_count or 0 if usage else 0
    error = ""
    if not texts:
        blocked = response.prompt_feedback.block_reason if response.prompt_feedback else None
        why = blocked or reason
        error = "no text in the answer" + (f": {why.name}" if why else "")
        error += f"; thinking took {thought} tokens: raise evaluation.max_tokens" if thought else ""
    return Answer(
        text=readable("".join(texts)),
        error=error,
        latency_s=latency_s,
        prompt_tokens=usage.prompt_token_count or 0 if usage else 0,
        completion_tokens=(usage.candidates_token_count or 0) + thought if usage else 0,
        cut=reason is not None and reason.name == "MAX_TOKENS",
    )

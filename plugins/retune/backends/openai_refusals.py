"""What OpenAI's SDK raises, as errors that say what to do; a key never gets into them.

Codes: https://platform.openai.com/docs/guides/error-codes. The SDK's own errors hold the request with
its headers, so they are never kept as a cause.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from retune.backends.base import InDoubtError, TransientError
from retune.errors import BackendError
from retune.settings import OpenAIAccount

if TYPE_CHECKING:
    from openai import APIError, APIStatusError

LAST_DAY = date(2027, 1, 6)
"""Last day on which OpenAI takes self-serve jobs (developers.openai.com/api/docs/deprecations)."""
INSTEAD = (
    "use Azure or another service with the same API (the connection's base_url), backend: vertex,"
    " or backend: local"
)
CLOSING = (
    "OpenAI is closing self-serve fine-tuning: since 7 May 2026 no organisation may start that never"
    " tuned, since 2 July 2026 none that was inactive, and after 6 January 2027 nobody"
)
_NO_QUOTA = frozenset({"insufficient_quota", "billing_not_active", "billing_hard_limit_reached"})
_TIMES_OUT = frozenset({408, 409})
_NEEDED = ("id", "created_at")
_UNREADABLE = (AttributeError, ValueError)
"""What the SDK stumbles over: cut JSON, or a page of text where it looks for a list."""

Found = TypeVar("Found")


class NotThereError(BackendError):
    """The service does not know what was asked for (404)."""


class RefusedError(BackendError):
    """The service finds fault with what was sent (400, 422)."""


@dataclass(frozen=True)
class Service:
    """Who was asked, for the errors.

    Attributes:
        account: How it is reached.
        connection: The name that the recipe gives it.
    """

    account: OpenAIAccount
    connection: str

    @property
    def host(self) -> str:
        """Host, and the port where it is not the scheme's, of its address."""
        address = urlsplit(self.account.base_url)
        return f"{address.hostname}:{address.port}" if address.port else address.hostname or ""

    @property
    def address(self) -> str:
        """Its address without a user's name or password."""
        parts = urlsplit(self.account.base_url.rstrip("/"))
        return f"{parts.scheme}://{self.host}{parts.path}"

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI itself, in whichever region."""
        host = urlsplit(self.account.base_url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")

    @property
    def priced_as(self) -> str:
        """Under which name the price list has it: another service's prices are not OpenAI's."""
        return "openai" if self.is_openai else urlsplit(self.account.base_url).hostname or ""

    def clean(self, text: str) -> str:
        """Return a text of the service as people may see it; see `OpenAIAccount.clean`."""
        return self.account.clean(text)


def asked(service: Service, call: Callable[[], Found]) -> Found:
    """Return what a request brings that may be repeated.

    Raises:
        NotThereError: 404.
        TransientError: No answer, no sensible one, or one that asks to come later.
        BackendError: It is refused for good.
    """
    from openai import OpenAIError

    try:
        return answered(service, call())
    except (OpenAIError, *_UNREADABLE) as error:
        problem = problem_of(error, service)
    # Outside of the `except`, so that the SDK's error is not kept as the context either.
    raise problem


async def asked_async(service: Service, call: Callable[[], Awaitable[Found]]) -> Found:
    """Return what a request brings that may be repeated; raises as `asked` does."""
    from openai import OpenAIError

    try:
        return answered(service, await call())
    except (OpenAIError, *_UNREADABLE) as error:
        problem = problem_of(error, service)
    raise problem


def posted(service: Service, call: Callable[[], Found]) -> Found:
    """Return what a request brings that costs money, and must not be repeated blindly.

    Raises:
        InDoubtError: It was cut off, or its answer says nothing: it may have been carried out.
        TransientError: It never reached the service, or comes too early: nothing was done.
        BackendError: It is refused for good.
    """
    from openai import OpenAIError

    try:
        return answered(service, call())
    except TransientError as error:
        problem: BackendError = InDoubtError(error.problems)
    except (OpenAIError, *_UNREADABLE) as error:
        problem = problem_of(error, service)
        if isinstance(problem, TransientError) and not _changed_nothing(error):
            problem = InDoubtError(problem.problems)
    raise problem


def answered(service: Service, answer: Found) -> Found:
    """Return a good answer.

    Raises:
        TransientError: It is none: no JSON, which the SDK gives as text, or an object without a name, such
            as a gateway sends it. What a compatible service merely leaves out is no fault.
    """
    if answer is None or isinstance(answer, str | list):
        raise TransientError(f"{service.host} gave no JSON object: {service.clean(str(answer))[:80]!r}")
    told = getattr(type(answer), "model_fields", {})
    missing = [name for name in _NEEDED if name in told and getattr(answer, name, None) is None]
    if missing:
        raise TransientError(f"{service.host} gave an answer without {' and '.join(missing)}")
    return answer


def problem_of(error: Exception, service: Service) -> BackendError:
    """Return an error of the SDK as one of ours."""
    from openai import APIConnectionError, APIError, APIResponseValidationError, APIStatusError

    if isinstance(error, _UNREADABLE):
        return TransientError(f"{service.host} gave an answer that cannot be read ({type(error).__name__})")
    if isinstance(error, APIConnectionError):
        return TransientError(f"{service.host} gave no answer: {error.message}")
    if isinstance(error, APIResponseValidationError):
        return TransientError(
            f"{service.host} gave an answer of another form: {service.clean(error.message)}"
        )
    if isinstance(error, APIStatusError):
        return _refusal(error, service)
    what = error.message if isinstance(error, APIError) else type(error).__name__
    return BackendError(f"{service.host}: {service.clean(what)}", "look at the connection")


def _refusal(error: APIStatusError, service: Service) -> BackendError:
    status = error.status_code
    said = f"{status}: {service.clean(_message(error))}" + (f" (param {error.param})" if error.param else "")
    if status == 429 and {error.code, error.type} & _NO_QUOTA:
        action = f"add credit, or raise the limits, of the account behind connection {service.connection!r}"
        return BackendError(f"{service.host}: no quota is left: {said}", action)
    if status == 429 or status >= 500 or status in _TIMES_OUT:
        return TransientError(
            f"{service.host} cannot now: {said}", retry_after_s=retry_after_s(error.response.headers)
        )
    if status == 401:
        action = f"put a valid key into connection {service.connection!r}"
        return BackendError(f"{service.host} does not take the key: {said}", action)
    if status == 403:
        return BackendError(f"{service.host} does not allow it: {said}", _not_eligible(service))
    if status == 404:
        return NotThereError(
            f"{service.host} does not know it: {said}", "look at base_model and the base_url"
        )
    return RefusedError(f"{service.host} refuses: {said}", "mend the recipe or the data")


def _not_eligible(service: Service) -> str:
    if service.is_openai:
        return f"{CLOSING}. Give the key's project the right to fine-tune, or {INSTEAD}"
    return f"give the account behind connection {service.connection!r} the right to fine-tune"


def _message(error: APIError) -> str:
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.message


def _changed_nothing(error: Exception) -> bool:
    """Tell whether a failed request has surely changed nothing: it was never sent, or it was turned away."""
    # By name, as the SDK stands on httpx in its version 2 and on httpx2 in its version 3.
    never_sent = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
    return never_sent or getattr(error, "status_code", None) == 429


def retry_after_s(headers: object) -> float | None:
    """Return the seconds that an answer's Retry-After asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    said = str(getattr(headers, "get", lambda _: "")("retry-after") or "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

"""Refusals in OpenAI's words.

Words are as users of the API report them. OpenAI publishes none for an organisation that may not tune any
more (https://developers.openai.com/api/docs/deprecations), only that it is a 403.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retune.errors import SetupError
from retune.testing.emulators.server import Refused

INVALID = "invalid_request_error"
_TYPES = {401: INVALID, 403: INVALID, 404: INVALID, 429: "requests"}


def body(refused: Refused) -> dict[str, Any]:
    """Return an error as OpenAI's answers have it."""
    kind = refused.kind or _TYPES.get(refused.status) or (INVALID if refused.status < 500 else "server_error")
    error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}
    return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """Return a 400."""
    return Refused(400, message, param=param, code=code)


def no_key() -> Refused:
    """Return the refusal of a request without a key."""
    return Refused(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using "
        "Bearer auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from "
        "https://platform.openai.com/account/api-keys.",
    )


def wrong_key(key: str = "") -> Refused:
    """Return the refusal of a wrong key; as OpenAI does, it shows the ends of a long key only."""
    shown = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) >= 24 else "*" * len(key)
    return Refused(
        401,
        f"Incorrect API key provided: {shown}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def no_quota() -> Refused:
    """Return the refusal of an account without money."""
    return Refused(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information "
        "on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        kind="insufficient_quota",
        code="insufficient_quota",
    )


def rate_limit() -> Refused:
    """Return the refusal of too many requests."""
    return Refused(
        429, "Rate limit reached for requests. Please try again later.", code="rate_limit_exceeded"
    )


def not_eligible() -> Refused:
    """Return the refusal of an organisation that may not create fine-tuning jobs (any more)."""
    return Refused(
        403,
        "Your organization is not allowed to create fine-tuning jobs: the self-serve fine-tuning platform "
        "is being wound down. See https://developers.openai.com/api/docs/deprecations.",
        code="fine_tuning_not_available",
    )


_NAMED: dict[str, Callable[[], Refused]] = {
    "no_key": no_key,
    "wrong_key": wrong_key,
    "no_quota": no_quota,
    "rate_limit": rate_limit,
    "not_eligible": not_eligible,
}


def named(name: str) -> Refused:
    """Return the refusal that fault rules call by a name; raises SetupError where there is none."""
    if name not in _NAMED:
        raise SetupError(f"there is no refusal {name!r}", f"known are {', '.join(sorted(_NAMED))}")
    return _NAMED[name]()


def no_model(name: str) -> Refused:
    """Return the refusal of a model that is not there."""
    return Refused(
        404,
        f"The model `{name}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def retired_model(name: str) -> Refused:
    """Return the refusal of a model that was shut down."""
    return Refused(
        404,
        f"The model `{name}` has been deprecated, learn more here: "
        "https://platform.openai.com/docs/deprecations",
        code="model_not_found",
    )


def no_tunable_model(name: str) -> Refused:
    """Return the refusal to tune a model that is unknown or cannot be tuned."""
    message = f"Model {name} is not available for fine-tuning or does not exist."
    return invalid(message, code="model_not_available")


def no_file(name: str) -> Refused:
    """Return the refusal of a file that is not there."""
    return Refused(404, f"No such File object: {name}", param="id")


def no_job(name: str) -> Refused:
    """Return the refusal of a job that is not there."""
    return Refused(404, f"Could not find fine tune: {name}", param="fine_tune_id", code="fine_tune_not_found")

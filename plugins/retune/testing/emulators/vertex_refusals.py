"""Errors as Google's APIs say them.

Vertex AI: https://google.aip.dev/193 over JSON. Cloud Storage:
https://cloud.google.com/storage/docs/json_api/v1/status-codes. Tokens: RFC 6749, section 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retune.testing.emulators.server import Refused

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status -> google.rpc.Code by name."""
_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    411: "required",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    500: "backendError",
    503: "backendError",
}
Violation = tuple[str, str]
"""A field of the request, and what is wrong with it."""


class VertexRefused(Refused):
    """What Vertex AI refuses.

    Args:
        status: HTTP status.
        message: Google's words.
        kind: google.rpc.Code by name; by default what belongs to the status.
        details: `google.rpc` details, each with its `@type`.
    """

    def __init__(
        self, status: int, message: str, *, kind: str = "", details: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(status, message, kind=kind)
        self.details = list(details)


def vertex_body(refused: Refused) -> dict[str, Any]:
    """Return an error of Vertex AI."""
    error = {
        "code": refused.status,
        "message": refused.message,
        "status": refused.kind or STATUSES.get(refused.status, "UNKNOWN"),
    }
    if isinstance(refused, VertexRefused) and refused.details:
        error["details"] = refused.details
    return {"error": error}


def storage_body(refused: Refused) -> dict[str, Any]:
    """Return an error of Cloud Storage's JSON API."""
    reason = refused.kind or _REASONS.get(refused.status, "invalid")
    one = {"message": refused.message, "domain": "global", "reason": reason}
    if refused.status == 401:
        one |= {"locationType": "header", "location": "Authorization"}
    return {"error": {"code": refused.status, "message": refused.message, "errors": [one]}}


def token_body(refused: Refused) -> dict[str, Any]:
    """Return an error of the token endpoint."""
    return {"error": refused.kind or "invalid_grant", "error_description": refused.message}


def bad_fields(violations: Sequence[Violation]) -> VertexRefused:
    """Refuse fields that the service understands but cannot use, in the words of Vertex AI.

    Seen in https://github.com/GoogleCloudPlatform/generative-ai/issues/2081.
    """
    listed = "".join(
        f"{number}.Field: {field}; Message: {what}\t" for number, (field, what) in enumerate(violations, 1)
    )
    return VertexRefused(400, f"List of found errors:\t{listed}", details=[_bad_request(violations)])


def bad_payload(violations: Sequence[Violation]) -> VertexRefused:
    """Refuse JSON that does not fit the request's message, as Google's front end does."""
    message = "\n".join(what for _, what in violations)
    return VertexRefused(400, message, details=[_bad_request(violations)])


def unauthenticated(service: str) -> VertexRefused:
    """Refuse a token that nobody issued, or that has expired."""
    return VertexRefused(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
        " valid authentication credential. See"
        " https://developers.google.com/identity/sign-in/web/devconsole-project.",
        details=[
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
                "metadata": {"service": service},
            }
        ],
    )


def _bad_request(violations: Sequence[Violation]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": what} for field, what in violations],
    }

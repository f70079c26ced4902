"""What Google refuses, in words that say what to do.

Shapes: https://google.aip.dev/193 (google.rpc.Status with ErrorInfo, RetryInfo), google.genai.errors,
google.api_core.exceptions, google.auth.exceptions. Google's messages are shown as they are; which of
several remedies fits is read off them, as no code tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from retune.backends.base import InDoubtError, TransientError
from retune.errors import BackendError

QUOTAS = "https://console.cloud.google.com/iam-admin/quotas"
SUPPORTED = "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning"
TUNING_AGENT = "service-PROJECT_NUMBER@gcp-sa-vertex-tune.iam.gserviceaccount.com"
"""Who reads the rows when a Gemini model is tuned (REST reference of TuningJob.serviceAccount)."""
OPEN_TUNING_AGENT = "service-PROJECT_NUMBER@gcp-sa-vertex-moss-ft.iam.gserviceaccount.com"
"""The same for open models."""
_SHOWN = 1500
_PROVISIONING_S = 60.0
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError"}
_MAYBE_DONE = (408, 409, 499)


@dataclass(frozen=True)
class Where:
    """What was asked, so that an error can name it."""

    connection: str
    project: str
    location: str
    bucket: str
    """With its gs://, or nothing."""
    base_model: str = ""


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer that is no success, from any of Google's libraries."""

    code: int
    message: str
    details: tuple[Mapping[str, Any], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """ErrorInfo's reason, such as SERVICE_DISABLED; empty where there is none."""
        return str(self._info().get("reason", ""))

    @property
    def no_quota(self) -> bool:
        """Whether the quota that is exceeded is zero, so that waiting does not help."""
        return str((self._info().get("metadata") or {}).get("quota_limit_value")) == "0"

    @property
    def retry_after_s(self) -> float | None:
        """How long Google asks to wait: RetryInfo's delay, or the header."""
        for detail in self.details:
            found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay", "")))
            if found:
                return float(found[1])
        return _retry_after(self.headers)

    def _info(self) -> Mapping[str, Any]:
        return next((one for one in self.details if str(one.get("@type", "")).endswith("ErrorInfo")), {})


def is_open(base_model: str) -> bool:
    """Say whether a model is an open one, `publisher/family@version`; Gemini's names have no publisher."""
    return "/" in base_model.removeprefix("publishers/google/models/")


def read(error: Exception) -> Refusal | None:
    """Return the HTTP answer that an exception of google-genai or google-cloud brought; None: no answer."""
    code = getattr(error, "code", None)
    if not isinstance(code, int):
        return None
    body = getattr(error, "details", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    details = inner.get("details", body) if isinstance(inner, dict) else body
    message = getattr(error, "message", None) or f"HTTP {int(code)}"
    return Refusal(
        int(code),
        str(message)[:_SHOWN],
        tuple(one for one in details if isinstance(one, dict)) if isinstance(details, list | tuple) else (),
        getattr(getattr(error, "response", None), "headers", None) or {},
    )


def translated(error: Exception, doing: str, where: Where, submitting: bool = False) -> BackendError:
    """Return what an exception of one of Google's libraries means for a job.

    Args:
        error: What was raised.
        doing: What was tried, such as `the tuning job could not be made`.
        where: What was asked.
        submitting: Whether the request may have cost money: what is not known is then in doubt.
    """
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, TransportError) or getattr(error, "retryable", False) is True:
        return TransientError(f"{doing}: Google's token server gave no answer", "see the network")
    if isinstance(error, GoogleAuthError):
        why = str(error.args[0])[:200] if error.args else type(error).__name__
        return BackendError(f"{doing}: no token for connection {where.connection!r}: {why}", _key(where))
    found = read(error)
    if found is None:
        what = f"{doing}: {type(error).__name__}: {error}"[:_SHOWN]
        if submitting and type(error).__name__ not in _NEVER_SENT:
            return InDoubtError(what, "the job may be there")
        return TransientError(what, "see the network, and https://status.cloud.google.com")
    return refused(found, doing, where, submitting)


def refused(found: Refusal, doing: str, where: Where, submitting: bool = False) -> BackendError:
    """Return what an HTTP answer that is no success means for a job; arguments as `translated`."""
    what = f"{doing} ({found.code}): {found.message}"
    if found.code == 429:
        if found.no_quota:
            return BackendError(what, f"the quota is zero: ask for more of it at {QUOTAS}")
        action = f"wait until other jobs have ended, or ask for more of the quota at {QUOTAS}"
        return TransientError(what, action, found.retry_after_s)
    if found.code >= 500 or found.code in _MAYBE_DONE:
        if submitting:
            return InDoubtError(what, "the job may be there", found.retry_after_s)
        return TransientError(what, "see https://status.cloud.google.com", found.retry_after_s)
    if "being provisioned" in found.message:
        # Of a project's first jobs; such a refusal names no time, but says minutes.
        return TransientError(what, "wait some minutes", found.retry_after_s or _PROVISIONING_S)
    return BackendError(what, _action(found, where))


def _action(found: Refusal, where: Where) -> str:
    """Return what to do about a request that is refused for good."""
    text = found.message.lower()
    if found.code == 401:
        return _key(where)
    if found.code == 403:
        if found.reason == "SERVICE_DISABLED" or "has not been used in project" in text:
            services = "aiplatform.googleapis.com storage.googleapis.com"
            return f"gcloud services enable {services} --project {where.project}"
        if "storage." in text or "bucket" in text:
            return bucket_action(where)
        if "billing" in text:
            return f"turn on billing for project {where.project}"
        who = f"the account of connection {where.connection!r}"
        return f"grant {who} roles/aiplatform.user on project {where.project}"
    if not where.base_model:
        return f"check project {where.project} and location {where.location}"
    return next((act(where) for words, act in _REMEDIES if any(word in text for word in words)), _MEND)


def _key(where: Where) -> str:
    return f"give connection {where.connection!r} a service account's key that is valid, and no expired token"


def bucket_action(where: Where) -> str:
    """Return what to do where a bucket may not be read or written."""
    agent = OPEN_TUNING_AGENT if is_open(where.base_model) else TUNING_AGENT
    return (
        f"grant roles/storage.objectUser on {where.bucket} to the account of connection"
        f" {where.connection!r}, and roles/storage.objectViewer to {agent}"
    )


def _region(where: Where) -> str:
    return f"tune in a region that {SUPPORTED} lists for {where.base_model}: set `location` in the recipe"


def _adapter(where: Where) -> str:
    return f"set an `adapter_size` that {SUPPORTED} lists for {where.base_model}, or leave it out"


def _model(where: Where) -> str:
    return f"choose a model that {SUPPORTED} lists, as `base_model`: {where.base_model} may be retired"


def _bucket(where: Where) -> str:
    return f"make {where.bucket} in the region of the tuning, {where.location}, or name another"


_MEND = "mend what Google names in the recipe or the data"
_REMEDIES: tuple[tuple[tuple[str, ...], Callable[[Where], str]], ...] = (
    (("adapter_size", "adapter size", "adaptersize"), _adapter),
    (("permission", "does not have"), bucket_action),
    (("bucket", "gs://", "object"), _bucket),
    (("region", "location", "global endpoint"), _region),
    (("base_model", "base model", "basemodel", "model"), _model),
)
"""Words of a message -> what to do; the first that fits counts."""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds (RFC 9110, section 10.2.3): seconds, or a date against the answer's."""
    given = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    if given is None:
        return None
    if re.fullmatch(r"\d{1,9}", given.strip(), re.ASCII):
        return float(given)
    sent = next((value for name, value in headers.items() if name.lower() == "date"), None)
    try:
        until, now = parsedate_to_datetime(given), parsedate_to_datetime(sent or "")
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None

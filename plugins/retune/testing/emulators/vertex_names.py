"""Names and times as Google writes them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime


def fresh_number(length: int = 19) -> str:
    """Return a new random numeric ID."""
    return str(10 ** (length - 1) + secrets.randbelow(8 * 10 ** (length - 1)))


def number_of(*parts: object, length: int = 19) -> str:
    """Return the numeric ID that belongs to some parts: the same for the same ones."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return str(10 ** (length - 1) + int(digest, 16) % (8 * 10 ** (length - 1)))


def project_number(project: str) -> str:
    """Return the number of a project, which names in answers have instead of its ID."""
    return project if project.isdecimal() else number_of("project", project, length=12)


def service_agent(project: str) -> str:
    """Return who reads the data of a project's tuning jobs.

    https://cloud.google.com/iam/docs/service-agents#vertex-ai-secure-fine-tuning-service-agent
    """
    return f"service-{project_number(project)}@gcp-sa-vertex-tune.iam.gserviceaccount.com"


def timestamp(at: float) -> str:
    """Return a time as RFC 3339, in UTC.

    Args:
        at: Seconds since 1970.
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stamp(at: float) -> str:
    """Return a time as the names of experiments have it: twenty digits."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S%f")

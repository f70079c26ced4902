"""Takes the gateway's access log to where captured traffic is kept; at least once, and nothing twice.

`access.log` -> `access.rotating` (Envoy may still write there) -> `access-<time_ns>.sealed` -> shipped,
deleted. A sealed file always becomes the same captured files, so shipping it again changes nothing.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from retune.errors import EndpointError
from retune.records import Exchange
from retune.serving import gateway
from retune.text.traffic import dump, exchange_path

_log = logging.getLogger(__name__)


class Shipper:
    """Ships one gateway's traffic.

    Args:
        folder: The gateway's folder.
        captured_url: fsspec URL under which captured traffic lies.
        agent: Who ships; part of the files' names.
        every_s: Least seconds between two rotations.
    """

    def __init__(self, folder: Path, captured_url: str, agent: str, every_s: float = 3.0) -> None:
        self._folder = folder
        self._url = captured_url.rstrip("/")
        self._agent = agent
        self._every_s = every_s
        self._rotate_at = 0.0

    def ship(self) -> None:
        """Rotate the log where it is time, and ship what is sealed.

        Raises:
            EndpointError: The store cannot be written; the traffic waits on this host.
        """
        if time.monotonic() >= self._rotate_at:
            self._rotate_at = time.monotonic() + self._every_s
            start_rotation(self._folder)
        self._seal()
        for sealed in sorted(self._folder.glob("access-*.sealed")):
            self._ship(sealed)
            sealed.unlink()

    def _seal(self) -> None:
        """Name the rotated log finally, once Envoy has opened a new one and so left it."""
        rotating = self._folder / "access.rotating"
        if not rotating.exists():
            return
        if gateway.access_log(self._folder).exists():
            rotating.rename(self._folder / f"access-{time.time_ns()}.sealed")
        elif admin := gateway.admin_url(self._folder):
            try:
                httpx.post(f"{admin}/reopen_logs", timeout=5.0, trust_env=False)
            except httpx.HTTPError as error:
                _log.info("Envoy's admin address does not answer: %s", error)

    def _ship(self, sealed: Path) -> None:
        import fsspec

        sequence = int(sealed.stem.removeprefix("access-"))
        groups: dict[str, list[Exchange]] = defaultdict(list)
        for line in sealed.read_bytes().splitlines():
            if exchange := read_line(line):
                groups[exchange.pipeline].append(exchange)
        at = datetime.fromtimestamp(sequence / 1e9, UTC)
        try:
            files, root = fsspec.url_to_fs(self._url)
            for pipeline, exchanges in groups.items():
                path = f"{root}/{exchange_path(pipeline, at, self._agent, sequence)}"
                files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                files.pipe_file(f"{path}.partial", dump(exchanges))
                files.mv(f"{path}.partial", path)
        except OSError as error:
            raise EndpointError(
                f"captured traffic cannot be written to {self._url}: {error}",
                "free space or mend the permissions; it waits on the gateway's host",
            ) from error


def start_rotation(folder: Path) -> None:
    """Move a log with content aside, so that a new one begins; an earlier one must be sealed first."""
    log = gateway.access_log(folder)
    if log.exists() and log.stat().st_size and not (folder / "access.rotating").exists():
        os.rename(log, folder / "access.rotating")


def read_line(line: bytes) -> Exchange | None:
    """Return one captured request; None for our own probes and for a line cut off by a crash."""
    try:
        entry = json.loads(line)
        kept = entry["kept"]
        if kept["probe"]:
            return None
        response = _decode(kept.get("response", ""))
        return Exchange(
            at=datetime.fromisoformat(entry["at"]),
            pipeline=kept["pipeline"],
            alias=kept["alias"],
            release=int(kept["release"]),
            model_digest=kept["digest"],
            prompt=_content(_decode(kept["prompt"])),
            answer=_answer(response) if entry["status"] == 200 else "",
            status=entry["status"],
            latency_ms=entry["latency_ms"],
        )
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("a line of the access log cannot be read: %r", error)
        return None


def _decode(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")


def _content(raw: str) -> str:
    """Return the text of a message's content, given as raw JSON that may be cut off."""
    try:
        value = json.loads(raw or '""')
    except ValueError:
        return _cut_literal(raw)
    if isinstance(value, list):
        parts = [part.get("text", "") if isinstance(part, dict) else str(part) for part in value]
        return "\n".join(part for part in parts if part)
    return value if isinstance(value, str) else ""


def _answer(response: str) -> str:
    """Return the first choice's text: of a JSON answer, or joined from a stream of events."""
    if response.startswith("data:"):
        events = (line.removeprefix("data:").strip() for line in response.splitlines())
        return "".join(_choice(event) for event in events if event.startswith("{"))
    return _choice(response)


def _choice(raw: str) -> str:
    try:
        choice: dict[str, Any] = next(c for c in json.loads(raw)["choices"] if c.get("index", 0) == 0)
    except StopIteration:
        return ""
    except (ValueError, KeyError, TypeError):
        return _cut_literal(raw)
    message = choice.get("message") or choice.get("delta") or {}
    return str(message.get("content") or choice.get("text") or "")


def _cut_literal(raw: str) -> str:
    """Return what can be read of the text in JSON that was cut off in the middle."""
    found = re.search(r'"(?:content|text)"\s*:\s*("(?:[^"\\]|\\.)*)', raw) or re.match(
        r'\s*("(?:[^"\\]|\\.)*)', raw
    )
    if not found:
        return ""
    literal = re.sub(r"\\u[0-9a-fA-F]{0,3}$", "", found[1])
    try:
        return str(json.loads(f'{literal}"', strict=False))
    except ValueError:
        return ""

"""The real SDK in front of the emulator, and small data."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from retune.testing.emulators.process import Running

MODEL = "gpt-4.1-mini-2025-04-14"
ENDED = ("succeeded", "failed", "cancelled")


def client_of(emulator: Running, **given: Any) -> OpenAI:
    """The SDK in strict mode, with its retries off."""
    settings = {"api_key": "sk-emulated", "max_retries": 0, "timeout": 20, **given}
    return OpenAI(base_url=f"{emulator.url}/v1", _strict_response_validation=True, **settings)


def chats(count: int = 12) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(count)
    ]


def lines(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def upload(client: OpenAI, data: bytes | None = None, name: str = "rows.jsonl") -> str:
    content = lines(chats()) if data is None else data
    return client.files.create(file=(name, content), purpose="fine-tune").id


def create(client: OpenAI, **given: Any) -> FineTuningJob:
    file = given.pop("training_file", None) or upload(client)
    return client.fine_tuning.jobs.create(**{"model": MODEL, "training_file": file, **given})


def until(condition: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return found


def ended(client: OpenAI, job: str, within_s: float = 60.0) -> FineTuningJob:
    """Wait until a job has ended and return it."""

    def look() -> FineTuningJob | None:
        found = client.fine_tuning.jobs.retrieve(job)
        return found if found.status in ENDED else None

    found: FineTuningJob = until(look, within_s)
    return found


def messages(client: OpenAI, job: str) -> list[str]:
    """What a job's events say, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job, limit=100)][::-1]

"""How late are an event loop's ticks?  A clock for any loop, and a trigger that winds it up in Airflow."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

TICK_S, SECOND_S, COUNT_EVERY = 0.01, 1.0, 3


@dataclass
class Second:
    """What was seen in about a second."""

    at: float
    """Its end, seconds since 1970."""
    late_ms: float
    """How late the latest tick came."""
    late_cpu_ms: float
    """What the loop's thread computed meanwhile; the rest it waited for a core, or for other threads."""
    busiest_cpu_ms: float
    """The most that the loop's thread computed between two ticks."""
    over_100_ms: int
    """Ticks that came later than that."""
    collecting_ms: float
    """The longest that Python's collector of garbage stopped all threads."""
    collected: int
    """Objects in the oldest generation that it found to be garbage."""
    tasks: int | None
    """Tasks of the loop whose name begins as asked; counted now and then."""


class Collections:
    """The longest pause that the collector of garbage has made."""

    def __init__(self) -> None:
        self.longest_ms = self._begun = 0.0
        self.collected = 0
        gc.callbacks.append(self._notice)

    def _notice(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.monotonic()
        else:
            self.longest_ms = max(self.longest_ms, 1e3 * (time.monotonic() - self._begun))
            self.collected += info["collected"] if info["generation"] == 2 else 0

    def take(self) -> tuple[float, int]:
        found = self.longest_ms, self.collected
        self.longest_ms, self.collected = 0.0, 0
        return found


async def beat(file: Path, name: str) -> None:
    """Append a line a second to a file, for ever.

    Args:
        file: JSON lines.
        name: What the names of the tasks that count begin with.
    """
    with file.open("a", buffering=1) as out:
        number, collections = 0, Collections()
        while True:
            seen = Second(0.0, 0.0, 0.0, 0.0, 0, 0.0, 0, None)
            last, cpu = time.monotonic(), time.thread_time()
            until = last + SECOND_S
            while last < until:
                await asyncio.sleep(TICK_S)
                now, cpu_now = time.monotonic(), time.thread_time()
                late, computed = 1e3 * (now - last - TICK_S), 1e3 * (cpu_now - cpu)
                if late > seen.late_ms:
                    seen.late_ms, seen.late_cpu_ms = late, computed
                seen.busiest_cpu_ms = max(seen.busiest_cpu_ms, computed)
                seen.over_100_ms += late > 100
                last, cpu = now, cpu_now
            if number % COUNT_EVERY == 0:
                seen.tasks = sum(task.get_name().startswith(name) for task in asyncio.all_tasks())
            seen.collecting_ms, seen.collected = collections.take()
            seen.at = time.time()
            out.write(json.dumps(asdict(seen)) + "\n")
            number += 1


class LoopProbe(BaseTrigger):
    """Never fires; see `beat`."""

    def __init__(self, file: str, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.file = file
        self.name = name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"file": self.file, "name": self.name}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await beat(Path(self.file), self.name)
        yield TriggerEvent({})  # type: ignore[no-untyped-call]

"""Progress with the seconds since the start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console


class Clock:
    """Prints progress lines and keeps each stage's seconds.

    Args:
        console: Where the lines go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self.stages: dict[str, Any] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return round(time.monotonic() - self._start, 1)

    def tell(self, line: str) -> None:
        """Print one line of progress."""
        text = f"{self.elapsed:6.1f} s  {line}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say a stage, show that it goes on, and keep its seconds."""
        self.tell(f"-- {name}")
        start = time.monotonic()
        with self._console.status(name):
            yield
        self.stages[name] = round(time.monotonic() - start, 1)

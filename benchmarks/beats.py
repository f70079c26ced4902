"""Reads what `benchmarks.loop_probe` wrote: how late an event loop's ticks came, second by second."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_beats(file: Path, since: float = 0.0, until: float = float("inf")) -> list[dict[str, Any]]:
    lines = file.read_text().splitlines() if file.exists() else []
    beats = [json.loads(line) for line in lines]
    return [beat for beat in beats if since <= beat["at"] and beat["at"] - 1 <= until]


def stalls(beats: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up how late the ticks of a while came."""
    worst = max(beats, key=lambda beat: beat["late_ms"])
    late = sorted(beat["late_ms"] for beat in beats)
    return {
        "seconds": len(beats),
        "longest_stall_ms": round(worst["late_ms"]),
        "of_it_computed_ms": round(worst["late_cpu_ms"]),
        "longest_collection_ms": round(max(beat["collecting_ms"] for beat in beats)),
        "collected": sum(beat["collected"] for beat in beats),
        "p99_of_each_second_ms": round(late[int(0.99 * (len(late) - 1))]),
        "median_of_each_second_ms": round(late[len(late) // 2]),
        "longest_computed_ms": round(max(beat["busiest_cpu_ms"] for beat in beats)),
        "over_100_ms": sum(beat["over_100_ms"] for beat in beats),
        "load": round(os.getloadavg()[0], 1),
    }

"""Reads the traffic that the gateways' agents have captured."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from retune.records import Exchange
from retune.text.traffic import folder_day, load, written_at


def read_window(
    captured_url: str, pipeline: str, release: int | None, since: datetime, limit: int
) -> list[Exchange]:
    """Return the newest answered requests, oldest first.

    Reads files newest first and stops once no older file can add anything.

    Args:
        captured_url: fsspec URL under which agents put captured traffic.
        pipeline: Whose traffic.
        release: Only requests that this release answered; None for all.
        since: Only requests from this moment on.
        limit: At most so many requests.

    Raises:
        DataError: A file holds a line that is no exchange.
    """
    import fsspec

    files, root = fsspec.url_to_fs(captured_url)
    newest: list[Exchange] = []
    for name, written in _newest_first(files, f"{root}/{pipeline}", since):
        if written < since or (len(newest) >= limit and newest[limit - 1].at >= written):
            break
        newest += [
            exchange
            for exchange in load(files.cat_file(name), name)
            if exchange.status == 200
            and exchange.answer
            and exchange.at >= since
            and release in (None, exchange.release)
        ]
        newest.sort(key=lambda exchange: exchange.at, reverse=True)
        del newest[limit:]
    return newest[::-1]


def _newest_first(files: Any, folder: str, since: datetime) -> Iterator[tuple[str, datetime]]:
    """Yield traffic files and when they were written; lists a day's folder only when it is reached."""
    days = [(day, name) for name in _listed(files, folder) if (day := folder_day(name))]
    for day, name in sorted(days, reverse=True):
        if day < since.astimezone(UTC).date():
            return
        found = [(written, path) for path in _listed(files, name) if (written := written_at(path))]
        for written, path in sorted(found, reverse=True):
            yield path, written


def _listed(files: Any, folder: str) -> list[str]:
    files.invalidate_cache(folder)  # agents add files behind this process's back
    try:
        return [str(name) for name in files.ls(folder, detail=False)]
    except FileNotFoundError:
        return []

"""Which files a spec's `data.sources` mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from retune.addresses import WEB, Address, has_query, redact, scrub
from retune.data.source import Source, unreadable
from retune.errors import DataError, Problem, RetuneError
from retune.public_web import open_web, size_of_web
from retune.settings import FileSystems, Settings

__all__ = ["Source", "find_sources"]

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

Found = Iterator[Source | Problem]


def find_sources(patterns: tuple[str, ...], settings: Settings, files: FileSystems) -> list[Source]:
    """Return the files that the patterns name, sorted by name.

    A relative path and a `file://` URL stay inside the project, also through links. An absolute
    path is the spec author's explicit word and is followed. Stores take globs, web servers do not,
    and these must have public addresses unless the operator names them in the settings.

    Args:
        patterns: Paths, globs and URLs.
        settings: The project and the web servers that may be private.
        files: Opens the stores.

    Raises:
        DataError: Names every file that is missing, not allowed or of no known format.
    """
    found: dict[str, Source] = {}
    problems: list[Problem] = []
    for pattern in patterns:
        try:
            for item in _of_pattern(pattern, settings, files):
                if isinstance(item, Problem):
                    problems.append(item)
                else:
                    found.setdefault(item.url or item.name, item)
        except RetuneError as error:
            problems += error.problems
    if not found and not problems:
        shown = ", ".join(map(redact, patterns))
        problems.append(Problem(f"data.sources: no file matches {shown}", "add a file"))
    if problems:
        raise DataError(problems)
    return _told_apart(sorted(found.values(), key=lambda source: source.name))


def _told_apart(sources: list[Source]) -> list[Source]:
    """Number the later ones of a name: URLs whose secrets differ look the same."""
    seen: dict[str, int] = {}
    for index, source in enumerate(sources):
        count = seen[source.name] = seen.get(source.name, 0) + 1
        if count > 1:
            sources[index] = replace(source, name=f"{source.name} ({count})")
    return sources


def _of_pattern(pattern: str, settings: Settings, files: FileSystems) -> Found:
    address = Address.read(pattern)
    if "\0" in unquote(pattern):
        return iter([Problem(f"data.sources: {redact(pattern)!r} holds a NUL", "take it out")])
    if address is None:
        return _local(pattern, settings, inside=not Path(pattern).is_absolute())
    if address.scheme == "file":
        host, _, path = pattern.partition("://")[2].partition("/")
        if host not in ("", "localhost"):
            what = f"data.sources: {pattern!r} names the host {host!r}"
            return iter([Problem(what, "write file:/// and the whole path")])
        return _local("/" + unquote(path), settings, inside=True)
    if address.scheme in WEB:
        return _web(address, settings)
    return _store(address, settings, files)


def _kind(path: str) -> tuple[str, str] | Problem:
    """Return a name's format and compression."""
    name = path.rstrip("/").rpartition("/")[2].lower()
    stem, last = os.path.splitext(name)
    packed = last if last in COMPRESSIONS else ""
    suffix = os.path.splitext(stem)[1] if packed else last
    if suffix not in FORMATS:
        what = f"{suffix + packed!r} is not a known format" if last else "has no suffix that names a format"
        return Problem(what, "use .jsonl, .csv or .parquet (each plain, .gz or .zst)")
    if packed and suffix == ".parquet":
        return Problem(f"{suffix + packed!r} packs Parquet twice", "unpack it: Parquet is packed inside")
    return FORMATS[suffix], COMPRESSIONS.get(packed, "")


def _local(pattern: str, settings: Settings, *, inside: bool) -> Found:
    project = settings.project
    if ".." in Path(pattern).parts:
        yield Problem(f"data.sources: {pattern!r} has a '..'", "name a path inside the project")
        return
    magic = glob.has_magic(pattern) and not os.path.lexists(project / pattern)
    matches = [pattern] if not magic else sorted(glob.glob(pattern, root_dir=project, recursive=True))
    for match in matches:
        path = project / match
        name = path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)
        try:
            flaw = _local_flaw(path, name, project, inside=inside, magic=magic)
            if flaw is None:
                yield _local_source(path, name, settings)
            elif flaw.what:
                yield flaw
        except OSError as error:
            yield unreadable(name, error)


def _local_flaw(path: Path, name: str, project: Path, *, inside: bool, magic: bool) -> Problem | None:
    """Return why a path is no source; nothing to say of a folder that a glob meets."""
    if inside and not Path(os.path.realpath(path)).is_relative_to(project.resolve()):
        if path.is_relative_to(project):
            what = f"data.sources: {name} is a link out of the project"
            return Problem(what, "put the file itself there, or name it by its absolute path")
        return Problem(
            f"data.sources: file://{path} is outside of the project",
            "name a file inside, or write the absolute path without file://",
        )
    if path.is_file():
        return None
    if path.is_dir():
        what = f"data.sources: {name} is a folder"
        return Problem("" if magic else what, f"name files in it, such as {name}/*.jsonl")
    if path.is_symlink():
        return Problem(f"data.sources: {name} is a link that leads to no file", "mend or remove the link")
    if path.exists():
        return Problem(f"data.sources: {name} is no regular file", "name a file")
    return Problem(f"data.sources: no file {name!r} in {project}", "check the path")


def _local_source(path: Path, name: str, settings: Settings) -> Source | Problem:
    kind = _kind(name)
    if isinstance(kind, Problem):
        return replace(kind, file=name)
    return Source(name, *kind, path, path.stat().st_size, partial(_open_local, path), settings.home)


def _open_local(path: Path) -> BinaryIO:
    return path.open("rb")


def _web(address: Address, settings: Settings) -> Found:
    path = unquote(urlsplit(address.url).path)
    if "*" in path:
        what = f"data.sources: {address.shown!r} is a glob, and web servers do not list files"
        yield Problem(what, "name each file")
        return
    kind = _kind(path)
    if isinstance(kind, Problem):
        yield replace(kind, file=address.shown)
        return
    hosts = settings.sources_private_hosts
    size = size_of_web(address.url, hosts)
    opener = partial(open_web, address.url, hosts)
    yield Source(address.shown, *kind, None, size, opener, settings.home, address.url)


def _store(address: Address, settings: Settings, files: FileSystems) -> Found:
    try:
        store, path = _opened(address, files)
        for found, entry in _entries(store, path, address):
            name = address.shown_path(found)
            kind = _kind(found.partition("?versionId=")[0])
            if isinstance(kind, Problem):
                yield replace(kind, file=name)
                continue
            opener = partial(_open_stored, address, files, found)
            url = f"{address.url.partition('://')[0]}://{found.lstrip('/')}"
            yield Source(name, *kind, None, entry.get("size"), opener, settings.home, url)
    except RetuneError:
        raise
    except FileNotFoundError:
        yield Problem(f"data.sources: no file {address.shown!r}", "check the URL")
    except Exception as error:
        # A store's library may raise anything.
        said = scrub(str(error) or type(error).__name__, address.url, *address.options.values())
        what = f"data.sources: {address.shown!r} cannot be opened: {said}"
        yield Problem(what, "check the URL and its credentials")


def _opened(address: Address, files: FileSystems) -> tuple[Any, str]:
    if address.options:
        import fsspec

        return cast("tuple[Any, str]", fsspec.url_to_fs(address.url, **address.options))
    return files.store(address.url, address.connection)


def _entries(store: Any, path: str, address: Address) -> list[tuple[str, dict[str, Any]]]:
    """Return the files of a store that a path or glob means, with what the store says of them."""
    store.invalidate_cache()
    if glob.has_magic(path) and not has_query(address.url):
        found = store.glob(path, detail=True)
        return sorted((name, entry) for name, entry in found.items() if entry["type"] == "file")
    entry = store.info(path)
    if entry["type"] != "file":
        raise IsADirectoryError("it is a folder, name files in it")
    return [(path, entry)]


def _open_stored(address: Address, files: FileSystems, path: str) -> BinaryIO:
    # A store itself need not go to another process, what opens it does.
    store, _ = _opened(address, files)
    return cast("BinaryIO", store.open(path, "rb"))

"""Documents that prompts may quote, and the passages that they are cut into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retune.addresses import STORES, WEB, redact
from retune.artifacts import digest_of
from retune.errors import DataError, Problem, RetuneError
from retune.public_web import open_web
from retune.settings import FileSystems, Settings

SUFFIXES = (".md", ".txt")
MOST_BYTES = 64 << 20
"""Of all documents together: they are ranked in memory."""
_WHERE = "evaluation.rag.documents"
_ACTION = "put .md or .txt files in UTF-8 there, or take rag out of evaluation"
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(?:([^/@]*)@)?(.*)", re.DOTALL)
# Line feeds and tabs belong to a text; other control characters do not.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")


@dataclass(frozen=True)
class Document:
    """A text as it was found.

    Attributes:
        name: Its path below the place that was named.
        text: In Unicode NFC, with line feeds, without other control characters.
        digest: Of its bytes.
    """

    name: str
    text: str
    digest: str


@dataclass(frozen=True)
class Passage:
    """A part of a document that a prompt may quote."""

    document: str
    text: str


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    read: Callable[[], bytes]


def read_documents(place: str, settings: Settings, files: FileSystems) -> list[Document]:
    """Return the documents of a folder, of a file, or of a URL of one, by name.

    A relative path stays inside the project, also through links; an absolute one is the spec author's
    explicit word. Of a folder, `.md` and `.txt` files at any depth are documents, hidden ones are not.

    Args:
        place: As in the spec: a path against the project's root, the URL of one file on a web server, or a
            URL of a store that fsspec opens; before its `@` the name of an Airflow connection may stand.
        settings: The project.
        files: Opens the stores.

    Raises:
        DataError: Nothing is there, nothing there can be read, or a file is not UTF-8; names all of them.
    """
    url = _URL.fullmatch(place)
    if url is None or url[1].lower() == "file":
        found = _local(_path(place, url), settings)
    else:
        found = _stored(url, settings, files)
    shown = redact(place)
    if not found:
        raise DataError(f"{_WHERE}: {shown!r} holds no document ({', '.join(SUFFIXES)})", _ACTION)
    size = sum(file.size for file in found)
    if size > MOST_BYTES:
        what = f"{_WHERE}: {shown!r} holds {size:,} bytes, and {MOST_BYTES:,} are ranked at most"
        raise DataError(what, "name a folder with fewer documents")
    documents, problems = [], []
    for file in sorted(found, key=lambda one: one.name):
        try:
            documents.append(_read(file))
        except RetuneError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    documents = [document for document in documents if document.text]
    if not documents:
        raise DataError(f"{_WHERE}: all documents of {shown!r} are empty", _ACTION)
    return documents


def passages_of(documents: Sequence[Document], most_words: int) -> list[Passage]:
    """Cut documents into passages, in their order.

    Paragraphs are kept together up to so many words; a longer one is cut between words. A heading stands
    with what follows it.

    Args:
        documents: The texts.
        most_words: Words of a passage.
    """
    return [
        Passage(document.name, text) for document in documents for text in _cut(document.text, most_words)
    ]


def _cut(text: str, most_words: int) -> Iterator[str]:
    gathered: list[str] = []
    for part in _parts(text, most_words):
        if sum(len(one.split()) for one in (*gathered, part)) > most_words:
            end = len(gathered)
            while end and _is_heading(gathered[end - 1]):
                end -= 1
            if end:
                yield "\n\n".join(gathered[:end])
            gathered = gathered[end:]
        gathered.append(part)
    if gathered:
        yield "\n\n".join(gathered)


def _parts(text: str, most_words: int) -> Iterator[str]:
    """Yield paragraphs, long ones in pieces."""
    for paragraph in re.split(r"\n\s*\n", text):
        found = paragraph.split()
        if len(found) <= most_words:
            if found:
                yield paragraph.strip()
            continue
        for start in range(0, len(found), most_words):
            yield " ".join(found[start : start + most_words])


def _is_heading(part: str) -> bool:
    return part.startswith("#") and "\n" not in part


def _read(file: _File) -> Document:
    try:
        data = file.read()
    except RetuneError:
        raise
    except OSError as error:
        raise DataError(
            [Problem(f"cannot be read: {error.strerror or error}", "mend it", file.name)]
        ) from None
    except Exception as error:  # a store's library may raise anything
        said = f"cannot be read: {type(error).__name__}: {error}"
        raise DataError([Problem(f"{said:.300}", "mend it, or its credentials", file.name)]) from None
    if len(data) > MOST_BYTES:
        what = f"holds {len(data):,} bytes, and {MOST_BYTES:,} are ranked at most"
        raise DataError([Problem(what, "cut it, or name another", file.name)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}"
        raise DataError([Problem(what, "save it as UTF-8, or move it away", file.name)]) from None
    plain = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return Document(file.name, unicodedata.normalize("NFC", plain).strip(), digest_of(data))


def _path(place: str, url: re.Match[str] | None) -> str:
    if url is None:
        return place
    if url[2] or not url[3].startswith(("/", "localhost/")):
        raise DataError(f"{_WHERE}: {place!r} names a host", "write file:/// and the whole path")
    return unquote(url[3].removeprefix("localhost"))


def _local(place: str, settings: Settings) -> list[_File]:
    root = settings.project / place
    inside = not Path(place).is_absolute()
    if inside and not root.resolve().is_relative_to(settings.project.resolve()):
        raise DataError(f"{_WHERE}: {place!r} is outside of the project", "write the absolute path")
    if root.is_file():
        return [_local_file(root, root.name)]
    if not root.is_dir():
        raise DataError(f"{_WHERE}: no folder or file {place!r} in {settings.project}", _ACTION)
    home = (settings.project if inside else root).resolve()
    found = []
    for path in sorted(root.rglob("*")):
        below = path.relative_to(root)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _is_hidden(below.parts):
            if not path.resolve().is_relative_to(home):
                what = f"{_WHERE}: {below.as_posix()} is a link that leads out of {place!r}"
                raise DataError(what, "put the file itself there")
            found.append(_local_file(path, below.as_posix()))
    return found


def _local_file(path: Path, name: str) -> _File:
    return _File(name, path.stat().st_size, path.read_bytes)


def _stored(url: re.Match[str], settings: Settings, files: FileSystems) -> list[_File]:
    shown = redact(url[0])
    scheme, connection, path = url[1].lower(), url[2] or "", url[3]
    if scheme == "abfs" and "." in path.partition("/")[0]:
        # Azure's own form: container@account.dfs.core.windows.net.
        connection, path = "", f"{connection}@{path}"
    if ":" in connection:
        what = f"{_WHERE}: {shown!r} has credentials in it"
        raise DataError(what, "name an Airflow connection before the '@', or use the environment")
    if scheme in WEB:
        return [_page(url[0], connection, path, settings)]
    if scheme not in STORES or "::" in path:
        what = f"{_WHERE}: {shown!r} cannot be opened: it is no store, or chains file systems"
        raise DataError(what, f"use a path, or one of {', '.join(f'{name}://' for name in STORES)}")
    try:
        store, root = files.store(f"{scheme}://{path}", connection)
        store.invalidate_cache()
        entry = store.info(root)
        if entry["type"] == "file":
            return [_stored_file(store, root, root.rpartition("/")[2], entry)]
        found = store.find(root, detail=True)
    except RetuneError:
        raise
    except FileNotFoundError:
        raise DataError(f"{_WHERE}: nothing is at {shown!r}", _ACTION) from None
    except Exception as error:  # a store's library may raise anything
        said = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{_WHERE}: {shown!r} cannot be opened: {said:.300}", "check the URL and its credentials"
        ) from None
    base = root.rstrip("/") + "/"
    below = {path: path.removeprefix(base) for path in found}
    return [
        _stored_file(store, path, name, found[path])
        for path, name in below.items()
        if name.lower().endswith(SUFFIXES) and not _is_hidden(name.split("/"))
    ]


def _page(url: str, connection: str, path: str, settings: Settings) -> _File:
    """Return a file on a web server, of which only its whole text tells how long it is."""
    shown, named = redact(url), path.partition("?")[0]
    if connection:
        what = f"{_WHERE}: {shown!r} names an Airflow connection, and web servers are read without one"
        raise DataError(what, "take it out, or copy the documents into the project or a store")
    if not named.lower().endswith(SUFFIXES):
        what = f"{_WHERE}: {shown!r} is on a web server, which lists no files"
        raise DataError(what, "name one .md or .txt file there, or copy the documents into the project")

    def read() -> bytes:
        with open_web(url, settings.sources_private_hosts, _WHERE) as file:
            found = file.read(MOST_BYTES + 1)
        if found.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
            # Such as a page to sign in on, or one that shows a repository's file.
            raise DataError(f"{_WHERE}: {shown!r} is a web page", "name the address of the bare text")
        return found

    return _File(named.rpartition("/")[2], 0, read)


def _stored_file(store: Any, path: str, name: str, entry: dict[str, Any]) -> _File:
    return _File(name, int(entry.get("size") or 0), lambda: bytes(store.cat_file(path)))


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)

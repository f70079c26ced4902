"""URLs of sources: which ones are followed, and what of them may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from retune.errors import DataError

STORES = ("s3", "s3a", "gs", "gcs", "abfs", "az", "hf", "memory")
"""Stores that fsspec opens; `memory` lives and dies with this process: tests, notebooks."""
WEB = ("http", "https")
SCHEMES = ("file", *STORES, *WEB)

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# A question mark is also a glob's sign in a store's path; a query names something.
_QUERY = re.compile(r"\?[^?/*\[\]=]+=")


@dataclass(frozen=True)
class Address:
    """A URL taken apart.

    Attributes:
        scheme: In lower case.
        url: Whole for the web; for a store without what stands before the `@`.
        connection: The Airflow connection named before the `@` of a store.
        options: Key and secret, where they stand before the `@` of an S3 bucket.
        shown: The URL as it may be shown: without passwords, and without the query's values.
    """

    scheme: str
    url: str = field(repr=False)
    connection: str
    options: dict[str, str] = field(repr=False)
    shown: str

    @classmethod
    def read(cls, text: str) -> Address | None:
        """Take a source's URL apart; None where the text is a plain path.

        Raises:
            DataError: It is a URL that is not followed.
        """
        scheme = (_SCHEME.match(text) or ["", ""])[1].lower()
        shown = redact(text)
        if "://" in text and "::" in text and scheme not in ("file", *WEB):
            what = f"data.sources: {shown!r} chains file systems with '::'"
            raise DataError(what, "name the file itself; .gz and .zst are unpacked without it")
        if not scheme:
            return None
        if scheme not in SCHEMES:
            what = f"data.sources: {scheme}:// in {shown!r} is not opened"
            raise DataError(what, f"use a path, or one of {', '.join(f'{name}://' for name in SCHEMES)}")
        try:
            urlsplit(text)
        except ValueError as error:
            raise DataError(f"data.sources: {shown!r} is no URL: {error}", "mend it") from None
        if scheme in STORES:
            return cls._of_store(scheme, text, shown)
        return cls(scheme, text, "", {}, shown)

    @classmethod
    def _of_store(cls, scheme: str, text: str, shown: str) -> Address:
        if has_query(text) and not re.fullmatch(r"s3a?://[^?]+\?versionId=[^&]+", text):
            what = f"data.sources: the query of {shown!r} means nothing to {scheme}://"
            raise DataError(what, "take it out; a signed link is used as its https:// URL")
        place, slash, path = text.partition("://")[2].partition("/")
        user, _, bucket = place.rpartition("@")
        if "@" in path and not user and ":" in place:
            what = f"data.sources: {shown!r} has a '/' in its credentials"
            raise DataError(what, "write it as %2F, or better name an Airflow connection")
        options: dict[str, str] = {}
        if ":" in user:
            if not scheme.startswith("s3"):
                what = f"data.sources: {shown!r} has credentials, which {scheme}:// does not read"
                raise DataError(what, "name an Airflow connection before the '@', or use the environment")
            key, _, secret = user.partition(":")
            options, user = {"key": unquote(key), "secret": unquote(secret)}, ""
        elif "." in bucket and scheme == "abfs":
            # Azure's own form: container@account.dfs.core.windows.net.
            user, bucket = "", place
        return cls(scheme, f"{scheme}://{bucket}{slash}{path}", user, options, shown)

    def shown_path(self, path: str) -> str:
        """Return what a file of this store is called."""
        user = f"{self.connection}@" if self.connection else "***@" if self.options else ""
        return f"{self.scheme}://{user}{path.lstrip('/')}"


def redact(text: str) -> str:
    """Return a URL without its credentials and the values of its query."""
    scheme, found, rest = text.partition("://")
    if not found:
        return text
    web = scheme.lower().rpartition(":")[2] in WEB
    rest, mark, query = rest.partition("?") if web or has_query(rest) else (rest, "", "")
    if mark:
        names = [name.partition("=") for name in query.partition("#")[0].split("&")]
        mark += "&".join(f"{name}=***" if equals else "***" for name, equals, _ in names)
    place = rest.partition("/")[0]
    user, at, _ = place.rpartition("@")
    password = ":" in user if at else re.search(r":(?!\d*$)[^\]]*$", place) is not None
    if (at and web) or (password and "@" in rest):
        # A password may hold an unescaped '/' or '@': all up to the last '@' is one.
        rest = "***@" + rest.rpartition("@")[2]
    return f"{scheme}://{rest.partition('#')[0] if web else rest}{mark}"


def has_query(url: str) -> bool:
    """Say whether a store's URL has a query; a question mark alone is a glob's."""
    return _QUERY.search(url) is not None


def scrub(message: str, url: str, *secrets: str) -> str:
    """Return a library's message on a URL without the URL's secrets, and others."""
    split = urlsplit(url)
    user = split.netloc.rpartition("@")[0]
    pieces = [*secrets, user, user.partition(":")[2]]
    pieces += [pair.partition("=")[2] or pair for pair in split.query.split("&")]
    message = message.replace(url, redact(url)) if url else message
    message = _URL.sub(lambda found: redact(found[0]), message)
    for secret in sorted({*pieces, *map(unquote, pieces)}, key=len, reverse=True):
        # A shorter one would spoil the message's words.
        message = message.replace(secret, "***") if len(secret) > 3 else message
    return message

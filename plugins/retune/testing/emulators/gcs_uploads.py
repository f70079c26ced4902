"""Uploads to Cloud Storage: at once, with their metadata, or resumable.

https://cloud.google.com/storage/docs/uploading-objects-from-memory, `resumable-uploads`,
`performing-resumable-uploads`. A session survives a restart.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from starlette.responses import Response

from retune.testing.emulators.gcs_objects import Objects, crc32c
from retune.testing.emulators.server import Call, Refused, Route
from retune.testing.emulators.store import Entry, Store

_PATHS = ("/upload/storage/v1/b/{bucket}/o", "/resumable/upload/storage/v1/b/{bucket}/o")


class Uploads:
    """The routes of uploads.

    Args:
        store: Where the sessions lie.
        objects: Where whole objects go.
    """

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store = store
        self._objects = objects

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            *(Route("POST", path, self._insert) for path in _PATHS),
            *(Route("PUT", path, self._continue) for path in _PATHS),
        ]

    async def _insert(self, call: Call) -> dict[str, Any] | Response:
        bucket, query = call.path("bucket"), call.request.query_params
        self._objects.bucket(bucket, call.now)
        kind, body = query.get("uploadType"), await call.request.body()
        content_type = call.request.headers.get("content-type", "")
        if kind == "resumable":
            return self._begin(call, bucket, json.loads(body) if body else {})
        if kind == "multipart":
            given, data = related(content_type, body)
        elif kind == "media":
            given, data = {"contentType": content_type}, body
        else:
            raise Refused(400, f"Invalid upload type: {kind}")
        name = query.get("name") or given.get("name", "")
        return self._finish(call, bucket, name, data, given)

    def _begin(self, call: Call, bucket: str, given: dict[str, Any]) -> Response:
        query, headers = call.request.query_params, call.request.headers
        name = query.get("name") or given.get("name", "")
        self._objects.check_precondition(call, bucket, _named(name))
        session = secrets.token_urlsafe(24)
        given.setdefault("contentType", headers.get("x-upload-content-type", ""))
        self._store.write_file(f"upload-{session}", b"")
        body = {"bucket": bucket, "name": name, "given": given, "received": 0}
        self._store.add("upload", session, body, at=call.now)
        location = call.request.url.include_query_params(upload_id=session, name=name)
        return Response(status_code=200, headers={"location": str(location), "x-guploader-uploadid": session})

    async def _continue(self, call: Call) -> dict[str, Any] | Response:
        session = call.request.query_params.get("upload_id", "")
        entry = self._store.get("upload", session, call.now)
        if entry is None:
            raise Refused(404, "No such upload session.")
        data = await call.request.body()
        first, total = content_range(call.request.headers.get("content-range", ""), len(data))
        received = entry.body["received"]
        if first is not None and first != received:
            return _incomplete(received)
        if data:
            whole = self._store.read_file(f"upload-{session}") + data
            self._store.write_file(f"upload-{session}", whole)
            received = len(whole)
            self._store.replace("upload", session, {**entry.body, "received": received})
        if total is None or received < total:
            return _incomplete(received)
        return self._close(call, entry)

    def _close(self, call: Call, entry: Entry) -> dict[str, Any]:
        body, file = entry.body, f"upload-{entry.id}"
        data = self._store.read_file(file)
        fields = self._finish(call, body["bucket"], body["name"], data, body["given"])
        self._store.remove("upload", entry.id)
        (self._store.files / file).unlink(missing_ok=True)
        return fields

    def _finish(
        self, call: Call, bucket: str, name: str, data: bytes, given: dict[str, Any]
    ) -> dict[str, Any]:
        self._objects.check_precondition(call, bucket, _named(name))
        hashes = dict(
            part.strip().split("=", 1)
            for part in call.request.headers.get("x-goog-hash", "").split(",")
            if "=" in part
        )
        wanted, found = given.get("crc32c") or hashes.get("crc32c"), crc32c(data)
        if wanted and wanted != found:
            raise Refused(400, f'Provided CRC32C "{wanted}" doesn\'t match calculated CRC32C "{found}".')
        return self._objects.put(call, bucket, name, data, given)


def _named(name: str) -> str:
    if not name:
        raise Refused(400, "Required parameter: name", kind="required")
    return name


def related(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return metadata and bytes of an upload that has both in one body.

    Args:
        content_type: The header, which names the boundary.
        body: The `multipart/related` body.

    Raises:
        Refused: It has not these two parts.
    """
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    parts = body.split(b"--" + match[1].encode()) if match else []
    if len(parts) != 4:
        raise Refused(400, "Malformed multipart body.")
    (_, metadata), (head, data) = (part[2:].split(b"\r\n\r\n", 1) for part in parts[1:3])
    given = json.loads(metadata)
    media_type = re.search(rb"(?im)^content-type:\s*(.+?)\s*$", head)
    given.setdefault("contentType", media_type[1].decode() if media_type else "")
    return given, data.removesuffix(b"\r\n")


def content_range(header: str, size: int) -> tuple[int | None, int | None]:
    """Return the first byte that is sent, if any is, and the object's size where it is known.

    Args:
        header: The `Content-Range` of a resumable upload.
        size: Bytes that are sent.
    """
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", header)
    if match is None:
        return (0, size) if not header else (None, None)
    first = int(match[1]) if match[1] else None
    return first, int(match[2]) if match[2] != "*" else None


def _incomplete(received: int) -> Response:
    headers = {"range": f"bytes=0-{received - 1}"} if received else {}
    return Response(status_code=308, headers=headers)

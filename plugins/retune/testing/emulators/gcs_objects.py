"""Cloud Storage's buckets and objects, as far as tuning needs them.

https://cloud.google.com/storage/docs/json_api/v1. A bucket's label `retune-denies` tells who may not use
it: `caller` (every request is refused) or `tuning` (only Vertex AI cannot read it).
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from retune.testing.emulators.server import Call, Refused, Route
from retune.testing.emulators.store import Entry, Store
from retune.testing.emulators.vertex_names import project_number, timestamp

_LABEL = "retune-denies"
_MOST_LISTED = 1000


@dataclass(frozen=True)
class Stored:
    """An object's bytes, and what is wrong with them where a fault rule says so."""

    data: bytes
    digest: str
    """Another one wherever the bytes are others."""
    flaw: dict[str, Any] | None


class Objects:
    """The buckets and objects of a store.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = "/storage/v1/b/{bucket}/o/{object:path}"
        return [
            Route("POST", "/storage/v1/b", self._create_bucket),
            Route("GET", "/storage/v1/b/{bucket}", self._get_bucket),
            Route("GET", "/storage/v1/b/{bucket}/o", self._list),
            Route("GET", one, self._get),
            Route("GET", f"/download{one}", self._download),
            Route("DELETE", one, self._delete),
        ]

    def bucket(self, name: str, now: float) -> dict[str, Any]:
        """Return a bucket that the caller may use; raises Refused where there is none."""
        found = self._store.get("bucket", name, now)
        if found is None:
            raise Refused(404, "The specified bucket does not exist.")
        if found.body.get("labels", {}).get(_LABEL) == "caller":
            message = (
                "The caller does not have storage.objects access to the Google Cloud Storage bucket."
                " Permission 'storage.objects' denied on resource (or it may not exist)."
            )
            raise Refused(403, message)
        return found.body

    def read(self, uri: str, now: float) -> Stored:
        """Return what an object holds, as Vertex AI reads it.

        Args:
            uri: `gs://bucket/name`.
            now: Seconds since 1970.

        Raises:
            LookupError: There is no such object.
            PermissionError: Vertex AI may not read it.
        """
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        holder = self._store.get("bucket", bucket, now)
        if holder and holder.body.get("labels", {}).get(_LABEL):
            raise PermissionError(uri)
        found = self._store.get("object", f"{bucket}/{name}", now) if holder else None
        if found is None:
            raise LookupError(uri)
        return Stored(self._store.read_file(found.body["file"]), found.body["file"], found.body.get("flaw"))

    def check_precondition(self, call: Call, bucket: str, name: str) -> None:
        """Raise Refused where the request wants another generation of an object than there is."""
        wanted = call.request.query_params.get("ifGenerationMatch")
        if wanted is None:
            return
        found = self._store.get("object", f"{bucket}/{name}", call.now)
        generation = found.body["fields"]["generation"] if found else "0"
        if wanted != generation:
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")

    def put(
        self, call: Call, bucket: str, name: str, data: bytes, given: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Store an object in the place of an older one, and return it.

        Args:
            call: The request.
            bucket: Its bucket.
            name: Its name.
            data: All its bytes; of which a fault may keep a part.
            given: What the request says of it: `contentType`, `metadata`.
        """
        kept = call.kept(data)
        fields = describe(bucket, name, kept, call.exists_at)
        fields |= {key: (given or {})[key] for key in ("contentType", "metadata") if (given or {}).get(key)}
        body: dict[str, Any] = {"fields": fields, "file": uuid.uuid4().hex}
        if rule := call.does("bad_file"):
            body["flaw"] = {"message": rule.message, "line": rule.line}
        old = self._store.get("object", f"{bucket}/{name}", call.now)
        self._store.write_file(body["file"], kept)
        with self._store.transaction():
            self._store.remove("object", f"{bucket}/{name}")
            self._store.add("object", f"{bucket}/{name}", body, at=call.exists_at)
        self._forget(old)
        return fields

    def put_result(self, uri: str, data: bytes, at: float) -> None:
        """Store an object that a job makes, where it is not there yet.

        Args:
            uri: `gs://bucket/name`.
            data: Its bytes.
            at: When it is made, seconds since 1970.
        """
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if self._store.get("object", f"{bucket}/{name}", at) is None:
            file = uuid.uuid4().hex
            self._store.write_file(file, data)
            fields = describe(bucket, name, data, at)
            self._store.add("object", f"{bucket}/{name}", {"fields": fields, "file": file}, at=at)

    def _forget(self, entry: Entry | None) -> None:
        if entry is not None:
            (self._store.files / entry.body["file"]).unlink(missing_ok=True)

    async def _create_bucket(self, call: Call) -> dict[str, Any]:
        asked = await call.request.json()
        name = str(asked.get("name", ""))
        if not name:
            raise Refused(400, "Invalid bucket name: ''")
        if self._store.get("bucket", name, call.now) is not None:
            raise Refused(
                409, "Your previous request to create the named bucket succeeded and you already own it."
            )
        at = timestamp(call.exists_at)
        body = {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": project_number(call.request.query_params.get("project", "")),
            "location": asked.get("location", "US"),
            "storageClass": "STANDARD",
            "metageneration": "1",
            "etag": "CAE=",
            "timeCreated": at,
            "updated": at,
        }
        body |= {"labels": asked["labels"]} if asked.get("labels") else {}
        self._store.add("bucket", name, body, at=call.exists_at)
        return body

    async def _get_bucket(self, call: Call) -> dict[str, Any]:
        return self.bucket(call.path("bucket"), call.now)

    async def _list(self, call: Call) -> dict[str, Any]:
        given, bucket = call.request.query_params, call.path("bucket")
        self.bucket(bucket, call.now)
        prefix, after, delimiter = (given.get(name, "") for name in ("prefix", "pageToken", "delimiter"))
        found: dict[str, dict[str, Any] | None] = {}
        for entry in self._store.all("object"):
            holder, _, name = entry.id.partition("/")
            if holder == bucket and name.startswith(prefix) and entry.created_at <= call.now:
                folder, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                # What has the delimiter behind the prefix is shown as a folder, once.
                found[prefix + folder + cut if cut else name] = None if cut else entry.body["fields"]
        names = sorted(name for name in found if name > after)
        most = min(int(given.get("maxResults", _MOST_LISTED)), _MOST_LISTED)
        items = [fields for name in names[:most] if (fields := found[name]) is not None]
        prefixes = [name for name in names[:most] if found[name] is None]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        answer |= {"items": items} if items else {}
        answer |= {"prefixes": prefixes} if prefixes else {}
        return answer | ({"nextPageToken": names[most - 1]} if len(names) > most else {})

    async def _get(self, call: Call) -> dict[str, Any] | Response:
        entry = self._entry(call)
        if call.request.query_params.get("alt") == "media":
            return await self._download(call)
        fields: dict[str, Any] = entry.body["fields"]
        return fields

    async def _download(self, call: Call) -> Response:
        entry = self._entry(call)
        fields, data = entry.body["fields"], self._store.read_file(entry.body["file"])
        headers = {
            "x-goog-generation": fields["generation"],
            "x-goog-hash": f"crc32c={fields['crc32c']},md5={fields['md5Hash']}",
            "x-goog-stored-content-length": fields["size"],
            "x-goog-stored-content-encoding": "identity",
        }
        first, last = _range(call.request.headers.get("range", ""), len(data))
        if first == 0 and last == len(data) - 1:
            return Response(data, media_type=fields["contentType"], headers=headers)
        if first >= len(data):
            raise Refused(416, "The requested range cannot be satisfied.")
        headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
        return Response(data[first : last + 1], 206, media_type=fields["contentType"], headers=headers)

    async def _delete(self, call: Call) -> Response:
        entry = self._entry(call)
        self.check_precondition(call, call.path("bucket"), call.path("object"))
        self._store.remove("object", entry.id)
        self._forget(entry)
        return Response(status_code=204)

    def _entry(self, call: Call) -> Entry:
        bucket, name = call.path("bucket"), call.path("object")
        self.bucket(bucket, call.now)
        found = self._store.get("object", f"{bucket}/{name}", call.now)
        if found is None:
            raise Refused(404, f"No such object: {bucket}/{name}")
        return found


def describe(bucket: str, name: str, data: bytes, at: float) -> dict[str, Any]:
    """Return an object's metadata.

    Args:
        bucket: Its bucket.
        name: Its name.
        data: Its bytes.
        at: When it was made, seconds since 1970.
    """
    time, generation = timestamp(at), str(int(at * 1e6))
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "name": name,
        "bucket": bucket,
        "generation": generation,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(len(data)),
        "md5Hash": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
        "crc32c": crc32c(data),
        "etag": "CAE=",
        "timeCreated": time,
        "updated": time,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{quote(name, safe='')}",
    }


def crc32c(data: bytes) -> str:
    """Return the CRC32C of bytes as Cloud Storage writes it: Base64, big-endian."""
    import google_crc32c

    return base64.b64encode(int(google_crc32c.value(data)).to_bytes(4, "big")).decode()


def _range(header: str, size: int) -> tuple[int, int]:
    """Return the first and the last byte that a `Range` header asks for."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    start = int(first) if first.isdecimal() else 0
    return start, min(int(last), size - 1) if last.isdecimal() else size - 1

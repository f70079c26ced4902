"""OpenAI's `/v1/files` and `/v1/uploads`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from retune.testing.emulators.ids import fresh
from retune.testing.emulators.openai_errors import invalid, no_file
from retune.testing.emulators.openai_requests import json_body, limit_of, needed
from retune.testing.emulators.server import Call, Refused, Route
from retune.testing.emulators.store import Entry, Store

RESULTS = "fine-tune-results"
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_FILE, _MOST_PART = 512 * 1024 * 1024, 64 * 1024 * 1024
_UPLOAD_LIVES_S = 3600


class Files:
    """Files and uploads in a store.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", "/v1/files", self._create),
            Route("GET", "/v1/files", self._list),
            Route("GET", "/v1/files/{file_id}", self._retrieve),
            Route("DELETE", "/v1/files/{file_id}", self._delete),
            Route("GET", "/v1/files/{file_id}/content", self._content),
            Route("POST", "/v1/uploads", self._create_upload),
            Route("POST", "/v1/uploads/{upload_id}/parts", self._add_part),
            Route("POST", "/v1/uploads/{upload_id}/complete", self._complete_upload),
            Route("POST", "/v1/uploads/{upload_id}/cancel", self._cancel_upload),
        ]

    def find(self, name: str, now: float) -> Entry | None:
        """Return a file, or None where there is none."""
        return self._store.get("file", name, now)

    def add_results(self, name: str, text: str, at: float) -> None:
        """Add the result file of a job; its content comes in Base64, as OpenAI's do.

        Args:
            name: The file's ID.
            text: CSV.
            at: Seconds since 1970.
        """
        content = base64.b64encode(text.encode()).decode()
        fields = _fields(name, len(content), "step_metrics.csv", RESULTS, at)
        body = {"fields": fields, "ready_at": at, "flaw": "", "content": content}
        self._store.add("file", name, body, at=at, labels={"purpose": RESULTS})

    def _keep(
        self,
        name: str,
        data: bytes,
        filename: str,
        purpose: str,
        *,
        at: float,
        visible_at: float,
        expires_at: int | None = None,
        ready_at: float = 0.0,
        flaw: str = "",
    ) -> Entry:
        fields = _fields(name, len(data), filename, purpose, at)
        if expires_at is not None:
            fields["expires_at"] = expires_at
        self._store.write_file(name, data)
        body = {"fields": fields, "ready_at": ready_at, "flaw": flaw}
        self._store.add("file", name, body, at=at, visible_at=visible_at, labels={"purpose": purpose})
        return Entry(0, name, body, at)

    async def _create(self, call: Call) -> dict[str, Any]:
        form = await call.request.form()
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise invalid("'file' is a required property", "file")
        if (upload.size or 0) > _MOST_FILE:
            raise Refused(413, "File is too large: a file can be at most 512 MB.", param="file")
        purpose = str(form.get("purpose", ""))
        filename = upload.filename or "file"
        _check_purpose(purpose, filename)
        entry = self._keep(
            fresh("file-", 22),
            call.kept(await upload.read()),
            filename,
            purpose,
            at=call.exists_at,
            visible_at=call.visible_at,
            expires_at=_expiry(form, call.now),
            **_state(call),
        )
        return shown(entry.body, call.now)

    async def _list(self, call: Call) -> dict[str, Any]:
        given = call.request.query_params
        after = self._entry(given["after"], call.now) if "after" in given else None
        page = self._store.page(
            "file",
            call.now,
            limit=limit_of(call.request, 10_000, 10_000),
            after=after,
            labels={"purpose": given["purpose"]} if "purpose" in given else None,
            newest_first=given.get("order", "desc") != "asc",
        )
        data = [shown(entry.body, call.now) for entry in page.entries]
        ids = [entry.id for entry in page.entries] or [""]
        return {
            "object": "list",
            "data": data,
            "first_id": ids[0],
            "last_id": ids[-1],
            "has_more": page.has_more,
        }

    async def _retrieve(self, call: Call) -> dict[str, Any]:
        return shown(self._entry(call.path("file_id"), call.now).body, call.now)

    async def _delete(self, call: Call) -> dict[str, Any]:
        name = self._entry(call.path("file_id"), call.now).id
        self._store.remove("file", name)
        return {"id": name, "object": "file", "deleted": True}

    async def _content(self, call: Call) -> Response:
        entry = self._entry(call.path("file_id"), call.now)
        content = entry.body.get("content")
        data = self._store.read_file(entry.id) if content is None else content.encode()
        return Response(data, media_type="application/octet-stream")

    def _entry(self, name: str, now: float) -> Entry:
        found = self.find(name, now)
        if found is None:
            raise no_file(name)
        return found

    async def _create_upload(self, call: Call) -> dict[str, Any]:
        asked = await json_body(call.request)
        filename, purpose = needed(asked, "filename"), needed(asked, "purpose")
        needed(asked, "mime_type")
        _check_purpose(purpose, filename)
        size = asked.get("bytes")
        if not isinstance(size, int) or size < 1:
            raise invalid("Invalid 'bytes': expected a positive integer.", "bytes")
        name = fresh("upload_", 32)
        fields = {
            "id": name,
            "object": "upload",
            "bytes": size,
            "created_at": int(call.exists_at),
            "filename": filename,
            "purpose": purpose,
            "status": "pending",
            "expires_at": int(call.exists_at) + _UPLOAD_LIVES_S,
        }
        self._store.add("upload", name, {"fields": fields}, at=call.exists_at)
        return fields

    async def _add_part(self, call: Call) -> dict[str, Any]:
        upload = self._pending(call)
        form = await call.request.form()
        part = form.get("data")
        if not isinstance(part, UploadFile):
            raise invalid("'data' is a required property", "data")
        data = await part.read()
        if len(data) > _MOST_PART:
            raise Refused(413, "Part is too large: each part can be at most 64 MB.", param="data")
        name = fresh("part_", 32)
        self._store.write_file(name, call.kept(data))
        fields = {
            "id": name,
            "object": "upload.part",
            "created_at": int(call.now),
            "upload_id": upload["id"],
        }
        self._store.add("part", name, fields, at=call.now)
        return fields

    async def _complete_upload(self, call: Call) -> dict[str, Any]:
        upload = self._pending(call)
        asked = await json_body(call.request)
        data = b"".join(self._part(name, upload["id"], call.now) for name in asked.get("part_ids") or ())
        if len(data) != upload["bytes"]:
            raise invalid(
                f"Upload {upload['id']} has {len(data)} bytes, but {upload['bytes']} bytes were expected.",
                "part_ids",
            )
        md5 = asked.get("md5")
        if md5 and md5 != hashlib.md5(data, usedforsecurity=False).hexdigest():
            raise invalid(f"Upload {upload['id']} does not match the given md5 checksum.", "md5")
        with self._store.transaction():
            entry = self._keep(
                fresh("file-", 22),
                data,
                upload["filename"],
                upload["purpose"],
                at=call.exists_at,
                visible_at=call.visible_at,
                **_state(call),
            )
            completed = {**upload, "status": "completed", "file": shown(entry.body, call.now)}
            self._store.replace("upload", upload["id"], {"fields": completed})
        return completed

    async def _cancel_upload(self, call: Call) -> dict[str, Any]:
        upload = {**self._pending(call), "status": "cancelled"}
        self._store.replace("upload", upload["id"], {"fields": upload})
        return upload

    def _pending(self, call: Call) -> dict[str, Any]:
        name = call.path("upload_id")
        found = self._store.get("upload", name, call.now)
        if found is None:
            raise Refused(404, f"No such Upload object: {name}", param="upload_id")
        upload: dict[str, Any] = found.body["fields"]
        if upload["status"] == "pending" and call.now >= upload["expires_at"]:
            upload["status"] = "expired"
        if upload["status"] != "pending":
            raise invalid(f"Upload {name} is {upload['status']}, not pending.", "upload_id")
        return upload

    def _part(self, name: str, upload: str, now: float) -> bytes:
        found = self._store.get("part", name, now)
        if found is None or found.body["upload_id"] != upload:
            raise invalid(f"No such Part object: {name}", "part_ids")
        return self._store.read_file(name)


def shown(body: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return a file as OpenAI shows it at a time."""
    if body["flaw"]:
        return {**body["fields"], "status": "error", "status_details": body["flaw"]}
    return {**body["fields"], "status": "uploaded" if now < body["ready_at"] else "processed"}


def _fields(name: str, size: int, filename: str, purpose: str, at: float) -> dict[str, Any]:
    return {
        "id": name,
        "object": "file",
        "bytes": size,
        "created_at": int(at),
        "filename": filename,
        "purpose": purpose,
    }


def _state(call: Call) -> dict[str, Any]:
    rule = call.does("bad_file")
    flaw = (rule.message or f"Invalid file format. Line {rule.line or 1} cannot be read.") if rule else ""
    return {"ready_at": call.exists_at + call.options.file_s, "flaw": flaw}


def _check_purpose(purpose: str, filename: str) -> None:
    if purpose not in _PURPOSES:
        supported = ", ".join(f"'{name}'" for name in _PURPOSES)
        message = f"Invalid value: '{purpose}'. Supported values are: {supported}."
        raise invalid(message, "purpose", "invalid_value")
    if purpose == "fine-tune" and not filename.endswith(".jsonl"):
        raise invalid("Invalid file format for Fine-Tuning API. Must be .jsonl", "file")


def _expiry(form: FormData, now: float) -> int | None:
    seconds = form.get("expires_after[seconds]")
    if seconds is None:
        return None
    if not str(seconds).isdecimal() or not 3600 <= int(str(seconds)) <= 2_592_000:
        raise invalid("Invalid 'expires_after.seconds': expected 3600 to 2592000.", "expires_after.seconds")
    return int(now) + int(str(seconds))

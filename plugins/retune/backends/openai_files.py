"""A dataset's sides as OpenAI's lines, uploaded once and checked before they are used.

Files carry no metadata, so a file is named by its content: `retune-<SHA-256>.jsonl`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from retune.artifacts import Artifacts
from retune.backends.base import Order, TransientError
from retune.backends.openai_client import Account, every
from retune.backends.openai_refusals import NotThereError, RefusedError, asked
from retune.errors import BackendError
from retune.text.conversations import Conversation, read_conversations
from retune.text.formats.limits import Flaw, Format, Limits
from retune.text.formats.openai_rows import PREFERENCE, SFT

if TYPE_CHECKING:
    from openai.types import FileObject

Side = Literal["train", "validation"]
WHOLE_BYTES = 64 * 2**20
"""Bytes up to which a file goes up in one request; a larger one in parts of this size."""
_LIST_PAGE = 10_000
_UPLOADS = 3
_UPLOAD_RETRIES = 2
_UPLOAD_TIMEOUT_S = 600.0
_LOOK_AGAIN_S = 0.5
# OpenAI's own words are uploaded, processed and error; the others are Azure's. Where `uploaded` is the
# last word of a service it is taken after a while: the job's creation would refuse the file for nothing.
_NOT_YET = {"uploaded": 60.0, "pending": 600.0, "running": 600.0, "notRunning": 600.0}
_BAD = frozenset({"error", "deleting", "deleted"})


def _graded(row: Conversation) -> dict[str, Any]:
    """Return what is asked, with the expected answer beside it as `{{ item.reference_answer }}`."""
    line = SFT.row_of(row)
    answer = line["messages"].pop()
    return {**line, "reference_answer": answer["content"] or ""}


def _graded_flaws(row: Conversation) -> Iterator[Flaw]:
    yield from SFT.flaws_of(row)
    if len(row.messages) < 2 or row.messages[-2].role != "user":
        yield "the turn before the answer is not the user's", "end what is asked with a user turn"


GRADED = Format(
    "OpenAI reinforcement",
    _graded,
    _graded_flaws,
    Limits("https://developers.openai.com/api/docs/guides/reinforcement-fine-tuning", most_bytes=8 * 10**9),
)
"""Reinforcement: `messages` up to a user turn (and `tools`); every other key is the grader's `item`."""
FORMATS = {"sft": SFT, "dpo": PREFERENCE, "reinforcement": GRADED}


def rows_of(order: Order, side: Side, artifacts: Artifacts) -> list[Conversation]:
    """Return one side of an order's dataset.

    Raises:
        ArtifactError: It is no longer stored.
    """
    return read_conversations(artifacts.get_bytes(getattr(order.dataset, side).artifact.digest))


def lines_of(rows: Iterable[Conversation], method: str) -> bytes:
    """Return rows as the file that OpenAI takes for a method."""
    return b"".join(map(FORMATS[method].line, rows))


def file_for(data: bytes, account: Account) -> str:
    """Return the ID of a file with these bytes that a job may use; uploads it where there is none.

    Raises:
        TransientError: It cannot be brought up now.
        BackendError: It is refused; in the service's words.
    """
    name = f"retune-{hashlib.sha256(data).hexdigest()}.jsonl"
    for file in _named(name, account):
        if _is_whole(file, data) and _status(file) not in _BAD:
            return _processed(file, account).id
    for left in reversed(range(_UPLOADS)):
        try:
            uploaded = _upload(name, data, account)
        except RefusedError:
            # A part that was cut shows when the parts are put together: their bytes are counted then.
            if left == 0 or len(data) <= WHOLE_BYTES:
                raise
            continue
        if _is_whole(uploaded, data):
            return _processed(uploaded, account).id
        _delete(uploaded, account)
    raise TransientError(
        f"{account.service.host} did not keep all {len(data):,} bytes of {name}, {_UPLOADS} times in a row"
    )


def _named(name: str, account: Account) -> list[Any]:
    def read(after: str) -> Any:
        more: dict[str, Any] = {"after": after} if after else {}
        return account.client.files.list(purpose="fine-tune", limit=_LIST_PAGE, **more)

    return [file for file in every(account.service, read) if getattr(file, "filename", "") == name]


def _is_whole(file: Any, data: bytes) -> bool:
    return getattr(file, "bytes", None) == len(data)


def _status(file: Any) -> str:
    """Return a file's status; OpenAI calls the field deprecated, and a service may leave it out."""
    return str(getattr(file, "status", None) or "processed")


def _upload(name: str, data: bytes, account: Account) -> FileObject:
    # A part that is sent twice costs nothing, and many parts should not fail for one.
    client = account.client.with_options(max_retries=_UPLOAD_RETRIES, timeout=_UPLOAD_TIMEOUT_S)
    if len(data) <= WHOLE_BYTES:
        return asked(
            account.service,
            lambda: client.files.create(file=(name, data, "application/jsonl"), purpose="fine-tune"),
        )
    upload = asked(
        account.service,
        lambda: client.uploads.upload_file_chunked(
            file=data,
            filename=name,
            bytes=len(data),
            mime_type="application/jsonl",
            purpose="fine-tune",
            part_size=WHOLE_BYTES,
        ),
    )
    if upload.file is None:
        raise TransientError(f"{account.service.host} ended the upload of {name} as {upload.status}")
    return upload.file


def _processed(file: FileObject, account: Account) -> FileObject:
    """Wait until a file was looked through.

    Raises:
        BackendError: It was found faulty.
        TransientError: It takes too long.
    """
    began = time.monotonic()
    service, name = account.service, file.id
    while (status := _status(file)) in _NOT_YET:
        waited = time.monotonic() - began
        if waited > _NOT_YET[status]:
            if status == "uploaded":
                return file
            raise TransientError(f"{service.host} has not processed {file.filename} in {waited:.0f} s")
        time.sleep(_LOOK_AGAIN_S)
        file = asked(service, lambda: account.client.files.retrieve(name))
    if status in _BAD:
        said = service.clean(file.status_details or f"its status is {status}")
        _delete(file, account)
        raise BackendError(f"{service.host} refuses the file {file.filename}: {said}", "mend these rows")
    return file


def _delete(file: FileObject, account: Account) -> None:
    try:
        asked(account.service, lambda: account.client.files.delete(file.id))
    except NotThereError:
        pass

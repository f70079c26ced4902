"""A dataset's rows for Vertex AI: in its format, checked, and in Cloud Storage under their own hash.

Open models, read in 2026 at docs.cloud.google.com/gemini-enterprise-agent-platform/models/
open-model-tuning and in Google's skill `agent-platform-tuning` (references/data_prep.md): lines with
`messages`; a validation file of up to 5,000 rows and a quarter of the training file's bytes; names as
`publisher/family@version`; supervised only; an `output_uri`. How many tokens an example may have
depends on the model there, and is left to the service.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from retune.artifacts import Artifacts
from retune.backends.base import Order, TransientError
from retune.backends.vertex_client import READ_S, VertexClient
from retune.backends.vertex_errors import Where, bucket_action, is_open, read, translated
from retune.errors import BackendError, Problem, RetuneError
from retune.settings import Settings
from retune.text.conversations import Conversation, read_conversations
from retune.text.formats import gemini_rows, openai_rows
from retune.text.formats.limits import Format, Limits, check
from retune.text.tokens import counter_for

SIDES = ("train", "validation")
_OPEN_SFT = replace(
    openai_rows.SFT,
    name="open-model SFT",
    limits=Limits(
        "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/open-model-tuning",
        most_validation=5_000,
    ),
)
_MOST_VALIDATION_SHARE = 0.25
_TRIES = 3
_LARGE_S = 300.0


def format_of(base_model: str, method: str) -> Format:
    """Return the format of a model's rows."""
    if is_open(base_model):
        return _OPEN_SFT
    return gemini_rows.PREFERENCE if method == "dpo" else gemini_rows.SFT


def rows_of(order: Order, side: str, artifacts: Artifacts) -> list[Conversation]:
    """Return the rows of one side of an order's dataset."""
    return read_conversations(artifacts.get_bytes(getattr(order.dataset, side).artifact.digest))


def problems_of(order: Order, artifacts: Artifacts, settings: Settings) -> list[Problem]:
    """Return why Vertex AI would refuse an order's rows, by file and line; nothing where it would not."""
    recipe = order.recipe
    wanted = format_of(recipe.base_model, recipe.method)
    counter = counter_for(recipe.base_model, settings.project)
    problems: list[Problem] = []
    sizes: dict[str, int] = {}
    for side in SIDES:
        rows = rows_of(order, side, artifacts)
        found = check(
            rows,
            wanted,
            side,
            validation=side == "validation",
            tokens=lambda row: counter.conversations([row])[0],
        )
        problems += found
        sizes[side] = 0 if found else sum(len(wanted.line(row)) for row in rows)
    if is_open(recipe.base_model) and not problems:
        share = sizes["validation"] / sizes["train"]
        if share > _MOST_VALIDATION_SHARE:
            what = f"the validation file has {share:.1%} of the training file's bytes, open models take 25%"
            problems.append(Problem(what, "set data.split.validation to 0.1", "validation"))
    return problems


def put_rows(order: Order, client: VertexClient, artifacts: Artifacts) -> dict[str, str]:
    """Bring an order's rows into the bucket; what lies there already is used.

    Returns:
        Side -> its gs:// address.

    Raises:
        TransientError: They could not be brought now.
        BackendError: The bucket is not there, or may not be used.
    """
    wanted = format_of(order.recipe.base_model, order.recipe.method)
    places = {}
    with closing(_storage(client)) as storage:
        bucket = storage.bucket(client.bucket.removeprefix("gs://").partition("/")[0])
        for side in SIDES:
            data = b"".join(wanted.line(row) for row in rows_of(order, side, artifacts))
            places[side] = _put(bucket, data, client)
    return places


def _storage(client: VertexClient) -> Any:
    from google.cloud import storage

    account = client.account
    options = {"api_endpoint": account.endpoint} if account.endpoint else None
    return storage.Client(account.project, account.credentials, client_options=options)


def _put(bucket: Any, data: bytes, client: VertexClient) -> str:
    """Store bytes under their hash, whole; https://cloud.google.com/storage/docs/request-preconditions."""
    prefix = client.bucket.removeprefix("gs://").partition("/")[2]
    name = f"{prefix}/retune/{hashlib.sha256(data).hexdigest()}.jsonl".lstrip("/")
    address = f"gs://{bucket.name}/{name}"
    where = client.where()
    for _ in range(_TRIES):
        blob = _look(bucket, name, where)
        if blob is not None and _is_whole(blob, data):
            return address
        _upload(bucket, name, data, blob.generation if blob is not None else 0, where)
    if (blob := _look(bucket, name, where)) is not None and _is_whole(blob, data):
        return address
    raise TransientError(f"{address} did not arrive whole {_TRIES} times", "see the network")


def _look(bucket: Any, name: str, where: Where) -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    with _translating(f"gs://{bucket.name}/{name} cannot be read", where):
        return bucket.get_blob(name, timeout=READ_S, retry=DEFAULT_RETRY.with_timeout(READ_S))


def _upload(bucket: Any, name: str, data: bytes, generation: int, where: Where) -> None:
    """Upload where the object still has the generation that was seen (0: is not there)."""
    from google.api_core.exceptions import PreconditionFailed
    from google.cloud.storage.exceptions import DataCorruption
    from google.cloud.storage.retry import DEFAULT_RETRY

    with _translating(f"gs://{bucket.name}/{name} cannot be written", where):
        try:
            # Beyond 8 MiB the library makes it a resumable upload by itself.
            bucket.blob(name).upload_from_file(
                io.BytesIO(data),
                size=len(data),
                content_type="application/jsonl",
                checksum="crc32c",
                if_generation_match=generation,
                timeout=_LARGE_S,
                retry=DEFAULT_RETRY.with_timeout(READ_S),
            )
        except (PreconditionFailed, DataCorruption):
            pass  # somebody was quicker, or it is not whole: the next look tells


def _is_whole(blob: Any, data: bytes) -> bool:
    from google_crc32c import Checksum

    digest: bytes = Checksum(data).digest()  # type: ignore[no-untyped-call]
    return bool(blob.size == len(data) and blob.crc32c == base64.b64encode(digest).decode())


@contextmanager
def _translating(doing: str, where: Where) -> Iterator[None]:
    try:
        yield
    except RetuneError:
        raise
    except Exception as error:  # google-cloud-storage and requests raise many kinds
        found = read(error)
        if found is not None and found.code in (403, 404):
            raise BackendError(
                f"{doing} ({found.code}): {found.message}", _remedy(found.code, where)
            ) from None
        raise translated(error, doing, where) from None


def _remedy(code: int, where: Where) -> str:
    if code == 403:
        return bucket_action(where)
    return f"make the bucket: gcloud storage buckets create {where.bucket} --location {where.location}"

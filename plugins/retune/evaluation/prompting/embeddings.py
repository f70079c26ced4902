"""Texts ranked by embeddings of an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retune.artifacts import digest_of_json, write_atomically
from retune.errors import EndpointError
from retune.evaluation.prompting.bm25 import highest
from retune.settings import EndpointAddress, OpenAIAccount

if TYPE_CHECKING:
    from openai import OpenAI

Vectors = NDArray[np.float32]

_BATCH = 64
"""Texts a call; OpenAI takes up to 2,048, and 300,000 tokens (API reference, embeddings)."""
_TIMEOUT_S = 60.0
_RETRIES = 4


class EmbeddingModel:
    """A model that turns texts into vectors (`POST /v1/embeddings`, as OpenAI and vLLM have it).

    Args:
        address: The endpoint.
        connection: Its name, for errors.
        model: What the endpoint calls the model.
        folder: Takes the vectors of documents, by digest.
    """

    def __init__(self, address: EndpointAddress, connection: str, model: str, folder: Path) -> None:
        self._account = OpenAIAccount(f"{address.url}/v1", address.api_key)
        self._connection = connection
        self._model = model
        self._folder = folder
        self._length = 0

    def documents(self, texts: Sequence[str]) -> Vectors:
        """Return a vector of length 1 a text; what was embedded before is read from disk.

        Raises:
            EndpointError: The endpoint does not answer, or not with vectors.
        """
        files = [self._file(text) for text in texts]
        missing = sorted({place for place, file in enumerate(files) if not file.is_file()})
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            for place, vector in zip(batch, self._asked([texts[place] for place in batch]), strict=True):
                write_atomically(files[place], vector.astype("<f4").tobytes())
        return self._same_length([np.frombuffer(file.read_bytes(), "<f4") for file in files])

    def questions(self, texts: Sequence[str]) -> Vectors:
        """Return a vector of length 1 a text. What people wrote is kept nowhere.

        Raises:
            EndpointError: The endpoint does not answer, or not with vectors.
        """
        batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
        return self._same_length([vector for batch in batches for vector in self._asked(batch)])

    def _file(self, text: str) -> Path:
        name = digest_of_json([self._account.base_url, self._model, text]).partition(":")[2]
        return self._folder / name[:2] / f"{name}.f4"

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI

        client = OpenAI(
            base_url=self._account.base_url,
            api_key=self._account.api_key or "none",
            timeout=_TIMEOUT_S,
            max_retries=_RETRIES,
        )
        # Set here, as the SDK would take what is empty from the environment: another payer's.
        client.organization = client.project = None
        return client

    def _asked(self, texts: Sequence[str]) -> list[Vectors]:
        from openai import OpenAIError

        said = ""
        try:
            # Named, for else the SDK asks for base64, which not every server knows.
            response = self._client.embeddings.create(
                model=self._model, input=list(texts), encoding_format="float"
            )
            found = sorted(response.data, key=lambda item: item.index)
            vectors = [np.asarray(item.embedding, dtype=np.float32) for item in found]
        except (OpenAIError, ValueError, TypeError, AttributeError) as error:
            said = self._account.clean(f"{type(error).__name__}: {error}")
        if said:  # outside of `except`: the error holds the key
            raise self._error(f"does not embed: {said}")
        if len(vectors) != len(texts):
            raise self._error(f"gave {len(vectors)} vectors for {len(texts)} texts")
        return [self._checked(vector) for vector in vectors]

    def _checked(self, vector: Vectors) -> Vectors:
        size = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
        if not 0 < size < np.inf:
            raise self._error("gave a vector that is empty, zero or no number")
        return (vector / size).astype(np.float32)

    def _same_length(self, vectors: list[Any]) -> Vectors:
        lengths = {len(vector) for vector in vectors}
        self._length = self._length or min(lengths, default=0)
        if lengths - {self._length}:
            # The same name may have become another model since.
            seen = ", ".join(map(str, sorted({*lengths, self._length})))
            raise self._error(
                f"gave vectors of {seen} numbers; remove {self._folder} where the model changed"
            )
        return np.stack(vectors) if vectors else np.zeros((0, self._length), dtype=np.float32)

    def _error(self, what: str) -> EndpointError:
        return EndpointError(
            f"evaluation.rag.embeddings: {self._model!r} of connection {self._connection!r} {what}",
            "see the endpoint's log, or take embeddings out to rank by words",
        )


class ByEmbedding:
    """Ranks texts by the cosine of their vectors with the question's.

    Args:
        texts: What is ranked.
        questions: What will be asked, as far as it is known: embedded in few calls.
        model: Embeds.

    Raises:
        EndpointError: The endpoint does not answer, or not with vectors.
    """

    def __init__(self, texts: Sequence[str], questions: Sequence[str], model: EmbeddingModel) -> None:
        self._model = model
        self._texts = model.documents(texts)
        known = list(dict.fromkeys(questions))
        self._known = dict(zip(known, model.questions(known), strict=True))

    def best(self, question: str, count: int) -> list[int]:
        """Return the places of the texts that fit best, best first; of equals, the one that comes first."""
        if question not in self._known:
            [self._known[question]] = self._model.questions([question])
        return highest(self._texts @ self._known[question], count)

"""Texts are ranked by what they mean; documents are embedded once, questions are kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retune.errors import EndpointError
from retune.evaluation.prompting.embeddings import ByEmbedding, EmbeddingModel
from retune.settings import EndpointAddress
from tests.unit.evaluation.prompting.embedding_server import EmbeddingServer

KEY = "sk-canary-2f8a61"
TEXTS = ["the parcel desk", "invoice and bill", "password matters", "broken things"]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as found:
        yield found


def model(server: EmbeddingServer, folder: Path, name: str = "embedder") -> EmbeddingModel:
    return EmbeddingModel(EndpointAddress(server.url, KEY), "embed_default", name, folder)


def test_words_of_the_same_meaning_are_found(server: EmbeddingServer, tmp_path: Path) -> None:
    ranking = ByEmbedding(TEXTS, ["where is my package?"], model(server, tmp_path))
    assert ranking.best("where is my package?", 1) == [0]
    assert ranking.best("no login any more", 1) == [2], "one that was not said before"
    assert ranking.best("nothing of this", 4) == [0, 2, 3, 1], "equals in their order"
    assert server.keys == {f"Bearer {KEY}"}


def test_documents_are_embedded_once_and_questions_are_not_kept(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    questions = [f"where is package {number}?" for number in range(150)]
    ByEmbedding(TEXTS, [*questions, *questions], model(server, tmp_path))
    assert server.batches == [4, 64, 64, 22]
    ByEmbedding([*TEXTS, "one more"], questions[:1], model(server, tmp_path))
    assert server.batches[4:] == [1, 1]
    assert {server.texts[text] for text in TEXTS} == {1}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 5
    ByEmbedding(TEXTS, [], model(server, tmp_path, "another"))
    assert server.batches[6:] == [4]


def test_what_is_read_from_disk_ranks_the_same(server: EmbeddingServer, tmp_path: Path) -> None:
    asked = ["a defect box", "my bill", "login"]
    first = ByEmbedding(TEXTS, asked, model(server, tmp_path))
    again = ByEmbedding(TEXTS, asked, model(server, tmp_path))
    assert [first.best(one, 4) for one in asked] == [again.best(one, 4) for one in asked]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("status", "'embedder' of connection 'embed_default' does not embed: NotFoundError"),
        ("html", "does not embed"),
        ("few", "gave 3 vectors for 4 texts"),
        ("zero", "a vector that is empty, zero or no number"),
    ],
)
def test_an_endpoint_that_does_not_embed_is_named(
    server: EmbeddingServer, tmp_path: Path, fault: str, expected: str
) -> None:
    server.fault = fault
    with pytest.raises(EndpointError, match=expected) as raised:
        model(server, tmp_path).documents(TEXTS)
    assert KEY not in str(raised.value) and raised.value.__context__ is None
    assert not list(tmp_path.rglob("*.f4"))


def test_a_model_that_became_another_is_said(server: EmbeddingServer, tmp_path: Path) -> None:
    model(server, tmp_path).documents(TEXTS)
    server.fault = "wide"
    with pytest.raises(EndpointError, match=r"gave vectors of 5, 6 numbers; remove .* where the model"):
        ByEmbedding(TEXTS, ["a question"], model(server, tmp_path))

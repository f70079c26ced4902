"""Which prompter asks for a contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Protocol

from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.evaluation.prompting import few_shot, retrieval
from retune.evaluation.prompting.base import Plain, Prompter
from retune.evaluation.prompting.bm25 import Bm25, Ranking
from retune.evaluation.prompting.documents import passages_of, read_documents
from retune.evaluation.prompting.embeddings import ByEmbedding, EmbeddingModel
from retune.evaluation.prompting.room import Room, room_for
from retune.records import Contender, Dataset, Split, Strategy
from retune.records.evaluation import ENDPOINT
from retune.settings import Connections, EnvironmentFileSystems, FileSystems, Settings
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation, read_conversation, read_conversations

Report = Callable[[str], None]


class _Showing(Prompter, Protocol):
    def shown(self, example: Conversation) -> int: ...


def prompter_for(
    asked: Contender | Strategy,
    spec: PipelineSpec,
    dataset: Dataset,
    artifacts: Artifacts,
    settings: Settings,
    connections: Connections,
    *,
    files: FileSystems | None = None,
    report: Report = print,
) -> Prompter:
    """Return what makes a contender's prompts.

    Its `digest` belongs into the contender's `prompt_digest`.

    Args:
        asked: The contender, or a strategy alone, which is taken for one of the spec's endpoint.
        spec: The frozen spec.
        dataset: Its training side gives the examples; what it holds out is kept out of prompts.
        artifacts: Has the sides.
        settings: Against whose project paths resolve; its home keeps the documents' embeddings.
        connections: Knows the endpoint that embeds.
        files: Opens stores such as `s3://`; by default with what the environment says.
        report: Takes a line on what could not be shown.

    Raises:
        DataError: No example may be shown, no document can be read, a document holds judged prompts, or
            nothing fits beside a question.
        EndpointError: The endpoint that embeds does not answer.
        SetupError: A connection is not known.
    """
    strategy, backend = (asked.strategy, asked.backend) if isinstance(asked, Contender) else (asked, ENDPOINT)
    if strategy == "plain":
        return Plain()
    room = room_for(backend, spec, settings.project)
    held_out = _rows(dataset.held_out, artifacts)
    judged = [*_rows(dataset.validation, artifacts), *held_out]
    prompter: _Showing
    if strategy == "few_shot":
        prompter, wanted = _few_shot(spec, dataset.train, judged, room, artifacts, report)
    else:
        files = files or EnvironmentFileSystems()
        prompter, wanted = _rag(spec, judged, held_out, room, settings, connections, files, report)
    _say_room(strategy, [prompter.shown(example) for example in held_out], wanted, room, report)
    return prompter


def _few_shot(
    spec: PipelineSpec,
    train: Split,
    judged: Sequence[Conversation],
    room: Room,
    artifacts: Artifacts,
    report: Report,
) -> tuple[few_shot.FewShot, int]:
    wanted = spec.evaluation.few_shot
    rows = map(read_conversation, BytesIO(artifacts.get_bytes(train.artifact.digest)))
    pool = few_shot.pool_of(rows, judged, spec.seed, spec.data.split.leak_similarity)
    for why, count in pool.left_out.items():
        report(f"few_shot: {count:,} of {train.rows:,} training examples are never shown: {why}")
    count = min(wanted.examples, len(pool.examples))
    if wanted.choose == "nearest":
        return few_shot.nearest(pool, count, room), count
    labelled = spec.task.kind == "classification"
    return few_shot.stratified(pool, count, spec.seed, room, labelled=labelled), count


def _rag(
    spec: PipelineSpec,
    judged: Sequence[Conversation],
    held_out: Sequence[Conversation],
    room: Room,
    settings: Settings,
    connections: Connections,
    files: FileSystems,
    report: Report,
) -> tuple[retrieval.Retrieval, int]:
    wanted = spec.evaluation.rag
    documents = read_documents(wanted.documents, settings, files)
    retrieval.refuse_leaks(documents, judged)
    passages = passages_of(documents, wanted.passage_words)
    report(f"rag: {len(passages):,} passages of {len(documents):,} documents")
    texts = [passage.text for passage in passages]
    ranking: Ranking
    if wanted.embeddings:
        address = connections.endpoint(wanted.embeddings)
        folder = settings.home / "embeddings"
        model = EmbeddingModel(address, wanted.embeddings, wanted.embedding_model, folder)
        ranking = ByEmbedding(texts, [row.prompt for row in held_out], model)
    else:
        ranking = Bm25(texts)
    count = min(wanted.passages, len(passages))
    digest = retrieval.digest_of(
        documents, count, wanted.passage_words, wanted.embedding_model or "bm25", room
    )
    return retrieval.Retrieval(passages, ranking, count, room, digest), count


def _say_room(strategy: str, shown: Sequence[int], wanted: int, room: Room, report: Report) -> None:
    """Say what questions have no room for; a strategy that can show nothing is none."""
    things = "examples" if strategy == "few_shot" else "passages"
    if shown and not any(shown):
        smaller = "" if strategy == "few_shot" else "evaluation.rag.passage_words or "
        raise DataError(
            f"{strategy}: no {things} fit beside any held-out question into {room.said}",
            f"lower {smaller}evaluation.max_tokens",
        )
    fewer = sum(count < wanted for count in shown)
    if fewer:
        report(
            f"{strategy}: {fewer:,} of {len(shown):,} held-out questions have room for fewer than"
            f" {wanted} {things}, some for {min(shown)}, in {room.said}"
        )


def _rows(split: Split, artifacts: Artifacts) -> list[Conversation]:
    return read_conversations(artifacts.get_bytes(split.artifact.digest))

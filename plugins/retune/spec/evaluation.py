"""The spec's evaluation: who answers, how each is asked, and what is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from retune.spec.parts import Duration, Part

Baseline = Literal["base", "few_shot", "rag", "previous"]
"""What the candidate is compared with beside the champion."""


class FewShot(Part):
    """Examples of the training side that a prompt shows before it asks."""

    examples: int = Field(default=8, ge=1, le=100)
    choose: Literal["stratified", "nearest"] = "stratified"
    """The same for every question, spread over the labels; or those whose question is most alike (BM25)."""


class Retrieval(Part):
    """Passages of documents that a prompt shows before it asks."""

    documents: str = "include/knowledge"
    """A folder or file of text (.md, .txt), or a store's URL of one; a path is against the project's root."""
    passages: int = Field(default=3, ge=1, le=50)
    passage_words: int = Field(default=200, ge=20, le=2000)
    embeddings: str = ""
    """Airflow connection of an endpoint that embeds texts; none: BM25."""
    embedding_model: str = ""
    """What that endpoint calls its model."""

    @model_validator(mode="after")
    def _model_named(self) -> Retrieval:
        if bool(self.embeddings) != bool(self.embedding_model):
            raise ValueError("embeddings and embedding_model belong together; give both or neither")
        return self


class LatencyProbe(Part):
    """How latency is measured: by itself, never under the bulk run's load."""

    concurrency: int = Field(default=1, ge=1, le=256)
    requests: int = Field(default=100, ge=10, le=10_000)
    """From 72 on the 95th percentile has an upper end that can be told."""


class Rules(Part):
    """What an answer's form must be, for free texts; the metric `rules` is the share that keeps them all."""

    matches: tuple[str, ...] = ()
    """Regular expressions that must be found in the answer."""
    lacks: tuple[str, ...] = ()
    """Regular expressions that must not."""
    least_characters: int = Field(default=0, ge=0)
    most_characters: int | None = Field(default=None, ge=1)

    @property
    def given(self) -> bool:
        """Whether there is any rule."""
        return self != Rules()


class Judge(Part):
    """A model that compares two answers; it never decides alone."""

    connection: str
    """Airflow connection of the endpoint or service that has the model."""
    model: str
    rubric: str = Field(min_length=1)
    """What makes an answer better, in words."""
    labelled: str
    """JSONL of pairs that people judged: prompt, first, second, better (`first`, `second` or `tie`)."""
    min_agreement: float = Field(default=0.7, gt=0.5, le=1)
    """Share of those pairs on which the judge must say what people said, or its votes do not count."""
    max_tokens: int = Field(default=512, ge=1)


class People(Part):
    """Blind side-by-side reviews in Airflow."""

    reviewers: int = Field(default=1, ge=1, le=20)
    examples: int = Field(default=20, ge=5, le=200)
    """Most of the held-out examples that a reviewer sees."""
    timeout: Duration = "48h"


class Evaluation(Part):
    """Where and how contenders answer."""

    endpoint: str
    """Airflow connection of an OpenAI-compatible endpoint."""
    max_in_flight: int = Field(default=32, ge=1, le=1000)
    max_tokens: int = Field(default=32, ge=1)
    timeout: Duration = "60s"
    baselines: tuple[Baseline, ...] = ("base",)
    """Who meets the held-out set beside the candidate and the champion."""
    tuned_with: tuple[Literal["few_shot", "rag"], ...] = ()
    """Prompts with which the candidate answers as well, to be looked at; only the plain one is released."""
    few_shot: FewShot = FewShot()
    rag: Retrieval = Retrieval()
    metrics: tuple[str, ...] = ()
    """Metrics beside those of the task's kind."""
    rules: Rules = Rules()
    latency: LatencyProbe = LatencyProbe()
    noise_examples: int = Field(default=30, ge=0, le=1000)
    """Examples that the candidate is asked twice, to see how far its answers vary by themselves."""
    judge: Judge | None = None
    people: People | None = None

    @model_validator(mode="after")
    def _all_different(self) -> Evaluation:
        for key in ("baselines", "tuned_with", "metrics"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} names something twice")
        return self

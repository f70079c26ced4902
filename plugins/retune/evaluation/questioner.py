"""Asks one contender: a set of examples, or a few of them to see how long answers take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from retune.errors import EndpointError
from retune.evaluation.answers import answers_of
from retune.evaluation.asking_costs import answer_cost, answer_price
from retune.evaluation.client import ask_all
from retune.evaluation.contenders import likelihoods_for, respondent_for
from retune.evaluation.latency import probe_latency
from retune.evaluation.likelihood import with_likelihoods
from retune.evaluation.metrics import embedding_similarity, metrics_for, perplexity
from retune.evaluation.metrics.base import Task
from retune.evaluation.outcomes import outcome_of
from retune.evaluation.prompting.base import Plain, Prompter
from retune.evaluation.prompting.embeddings import EmbeddingModel
from retune.prices import load_prices
from retune.records import Contender, Outcome
from retune.records.evaluation import Latency
from retune.records.training import Attributes
from retune.settings import Connections, Settings
from retune.spec import PipelineSpec, seconds
from retune.text.conversations import Conversation

PLAIN: Prompter = Plain()


class Questioner:
    """Asks one contender, wherever it answers.

    Args:
        contender: Who answers, and where; an adapter must be loaded there.
        spec: The frozen spec.
        connections: Where addresses and credentials come from.
        settings: Where answers are kept and prices are found; None: nothing is kept, no cost is known.
        prompter: Makes the messages that the contender is shown.
        base_model: What a tuned model was trained from: its price is looked up by it where the
            model's own name has none.
        report: Takes progress lines.
    """

    def __init__(
        self,
        contender: Contender,
        *,
        spec: PipelineSpec,
        connections: Connections,
        settings: Settings | None = None,
        prompter: Prompter = PLAIN,
        base_model: str = "",
        report: Callable[[str], None] = print,
    ) -> None:
        self._contender = contender
        self._spec = spec
        self._connections = connections
        self._settings = settings
        self._prompter = prompter
        self._base_model = base_model
        self._report = report

    def outcomes(
        self,
        examples: Sequence[Conversation],
        task: Task,
        attributes: Mapping[str, Attributes],
        *,
        keep: bool = True,
    ) -> list[Outcome]:
        """Ask examples and return what each answer is worth, in order.

        Args:
            examples: What is asked.
            task: What answers are held against.
            attributes: Example's id -> what it belongs to, where that is known.
            keep: Whether answers come from this host's disk where they are there, and go there.

        Raises:
            EndpointError: The contender cannot be reached, is not served, or stopped answering.
            SetupError: Its connection says too little, or answers cannot be kept.
            SpecError: The project's price list cannot be used.
        """
        # Outside of the event loop, as Airflow asks its server for a connection.
        respondent = respondent_for(self._contender, self._spec, self._connections)
        kept = price = None
        if self._settings is not None:
            prices = load_prices(self._settings)
            price = answer_price(prices, respondent.priced_as, self._contender.model_name, self._base_model)
            if keep:
                digest = self._contender.model_digest
                kept = answers_of(self._settings, self._spec.pipeline, respondent, digest)
        answers = asyncio.run(
            ask_all(
                [self._prompter.messages(example) for example in examples],
                respondent,
                max_in_flight=self._spec.evaluation.max_in_flight,
                report=self._report,
                answers=kept,
            )
        )
        found = []
        for example, answer in zip(examples, answers, strict=True):
            belongs = attributes.get(example.id) or Attributes(id=example.id)
            cost = answer_cost(answer, price)
            more = {"group": belongs.group, "slices": belongs.slices, "cost_usd": cost}
            found.append(outcome_of(example, answer, task).model_copy(update=more))
        measured = {metric.name for metric in metrics_for(self._spec, task)}
        if embedding_similarity.NAME in measured:
            found = self._compared(found)
        # Who is asked again is asked for scores, which likelihoods are not.
        if perplexity.NAME in measured and keep:
            found = self._with_likelihoods(found, examples)
        return found

    def _compared(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Put how alike answers and expected texts are into the scores."""
        rag, settings = self._spec.evaluation.rag, self._settings
        if settings is None or not rag.embeddings:
            return outcomes
        address = self._connections.endpoint(rag.embeddings)
        folder = settings.home / "embeddings"
        model = EmbeddingModel(address, rag.embeddings, rag.embedding_model, folder)
        return embedding_similarity.with_similarity(outcomes, model.questions)

    def _with_likelihoods(self, outcomes: list[Outcome], examples: Sequence[Conversation]) -> list[Outcome]:
        """Put in how likely the expected texts are; where nobody tells it, one line says so."""
        contender, settings = self._contender, self._settings
        respondent = likelihoods_for(contender, self._spec, self._connections)
        if respondent is None:
            self._report(f"{contender.backend} does not tell how likely a text is")
            return outcomes
        kept = None
        if settings is not None:
            kept = answers_of(settings, self._spec.pipeline, respondent, contender.model_digest)
        try:
            return with_likelihoods(
                outcomes,
                [(*self._prompter.messages(example), example.messages[-1]) for example in examples],
                respondent,
                max_in_flight=self._spec.evaluation.max_in_flight,
                report=self._report,
                answers=kept,
            )
        except EndpointError as error:  # no reason to lose the answers
            self._report(str(error))
            return outcomes

    def latency(self, examples: Sequence[Conversation]) -> Latency:
        """Measure how long answers take at `evaluation.latency.concurrency`.

        Comes before the set is asked: a server that keeps prompts would answer it quicker after.

        Args:
            examples: What may be asked.

        Raises:
            EndpointError: The contender does not answer, or too often not.
            SetupError: Its connection says too little.
        """
        evaluation = self._spec.evaluation
        respondent = respondent_for(self._contender, self._spec, self._connections)
        found = asyncio.run(
            probe_latency(
                respondent,
                [self._prompter.messages(example) for example in examples],
                evaluation.latency,
                longest_s=seconds(evaluation.timeout),
                confidence=self._spec.gate.confidence,
            )
        )
        self._report(
            f"latency p50 {1000 * found.p50_s:,.0f} ms, p95 {1000 * found.p95_s:,.0f} ms"
            f" [{1000 * found.p95_low_s:,.0f}, {1000 * found.p95_high_s:,.0f}] over {found.n} answers,"
            f" {found.concurrency} at once"
        )
        return found

"""A judge at work: asked in both orders, and tried before its votes count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retune.errors import SetupError
from retune.evaluation.answers import answers_of
from retune.evaluation.asking_costs import answer_cost, answer_price
from retune.evaluation.client import ask_all
from retune.evaluation.judging.agreement import Agreement, agreement
from retune.evaluation.judging.pairs import Better, Labelled, Pair
from retune.evaluation.judging.probes import MOST_FOOLED, probes_of
from retune.evaluation.judging.verdicts import question_of, read_verdict, settled
from retune.evaluation.openai_respondent import OpenAIRespondent
from retune.evaluation.respondents import Respondent
from retune.prices import load_prices
from retune.settings import Connections, OpenAIAccount, Settings
from retune.spec import Judge, PipelineSpec, seconds


@dataclass(frozen=True)
class Trial:
    """How a judge did on what people judged, and on answers that are none.

    Attributes:
        agreement: Its verdicts against people's; a missing verdict agrees with nobody.
        probes: Answers that are none, each against a good one.
        fooled: Fooling answer -> how often the good answer was not found better.
    """

    agreement: Agreement
    probes: int
    fooled: Counter[str]

    def objections(self, least: float) -> list[str]:
        """Say why the judge's votes do not count; empty where they do.

        Args:
            least: Share of people's verdicts that it must have given too.
        """
        found, seen = [], self.agreement
        if seen.share < least:
            found.append(f"agreement {seen.share:.3f} < {least:g} on {seen.n} pairs that people judged")
        fooled = self.fooled.total()
        if fooled > MOST_FOOLED * self.probes:
            worst, times = self.fooled.most_common(1)[0]
            what = f"{fooled} of {self.probes} answers that are none"
            found.append(f"fooled by {what}, most often by {worst!r} ({times})")
        return found

    @property
    def figures(self) -> dict[str, float]:
        """What is shown."""
        seen = self.agreement
        kappa = {} if seen.kappa is None else {"kappa": seen.kappa}
        shown = {"agreement": seen.share, "agreement_low": seen.low, "agreement_high": seen.high, **kappa}
        return {**shown, "judged_pairs": seen.n, "probes": self.probes, "fooled": self.fooled.total()}


class Bench:
    """A judge at work.

    Args:
        spec: The frozen spec.
        judge: Its `evaluation.judge`.
        connections: Where addresses and credentials come from.
        settings: Where answers are kept and prices are found.
        report: Takes progress lines.

    Attributes:
        spec: As given.
        judge: As given.
        calls: Questions that were asked, or whose answers were kept.
        unread: Those of them that brought no verdict.
        cost_usd: Of all answers whose price is known.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        judge: Judge,
        *,
        connections: Connections,
        settings: Settings,
        report: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.judge = judge
        self._connections = connections
        self._settings = settings
        self._report = report
        self.calls = self.unread = 0
        self.cost_usd = 0.0

    def verdicts(self, pairs: Sequence[Pair]) -> list[Better | None]:
        """Ask about each pair in both orders; None where either brought no verdict.

        Args:
            pairs: What is judged.

        Raises:
            EndpointError: The judge cannot be reached, is not served, or stopped answering.
            SetupError: Its connection says too little, or answers cannot be kept.
            SpecError: The project's price list cannot be used.
        """
        respondent = self._respondent()
        price = answer_price(load_prices(self._settings), respondent.priced_as, self.judge.model)
        both = [order for pair in pairs for order in (pair, pair.swapped)]
        answers = asyncio.run(
            ask_all(
                [question_of(pair, self.judge.rubric) for pair in both],
                respondent,
                max_in_flight=self.spec.evaluation.max_in_flight,
                report=self._report,
                answers=answers_of(self._settings, self.spec.pipeline, respondent),
            )
        )
        self.cost_usd += sum(answer_cost(answer, price) or 0.0 for answer in answers)
        said = [None if answer.error else read_verdict(answer.text) for answer in answers]
        self.calls += len(said)
        self.unread += said.count(None)
        return [settled(*two) for two in zip(said[::2], said[1::2], strict=True)]

    def tried(self, labelled: Sequence[Labelled], seed: int, confidence: float) -> Trial:
        """See how a judge does before it is asked what counts; raises what `verdicts` raises.

        Args:
            labelled: Pairs that people judged.
            seed: Chooses those that are probed with.
            confidence: Of the agreement's interval.
        """
        probes = probes_of(labelled, seed)
        found = self.verdicts([*(one.pair for one in labelled), *(one.pair for one in probes)])
        said = [better or "no verdict" for better in found[: len(labelled)]]
        agreed = agreement(said, [one.better for one in labelled], confidence)
        results = zip(probes, found[len(labelled) :], strict=True)
        return Trial(agreed, len(probes), Counter(one.fooling for one, said in results if said != "first"))

    def _respondent(self) -> Respondent:
        judge, timeout_s = self.judge, seconds(self.spec.evaluation.timeout)
        name, account = judge.connection, account_of(judge.connection, self._connections)
        return OpenAIRespondent(account, name, judge.model, max_tokens=judge.max_tokens, timeout_s=timeout_s)


def account_of(name: str, connections: Connections) -> OpenAIAccount:
    """Return how a judge is reached: an endpoint of one's own, or else a service with OpenAI's API.

    Raises:
        SetupError: The connection is neither; says what each lacks.
    """
    try:
        endpoint = connections.endpoint(name)
    except SetupError as no_endpoint:
        try:
            return connections.openai(name)
        except SetupError as no_service:
            raise SetupError([*no_endpoint.problems, *no_service.problems]) from None
    return OpenAIAccount(f"{endpoint.url}/v1", endpoint.api_key)

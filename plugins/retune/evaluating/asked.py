"""Who is asked: models as the command line names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from retune.errors import DataError, Problem, SetupError
from retune.evaluating.questions import Questions
from retune.evaluation.answers import answers_of
from retune.evaluation.contenders import likelihoods_for, respondent_for
from retune.evaluation.prompting.base import Plain, Prompter
from retune.evaluation.prompting.prompters import prompter_for
from retune.records import Contender, Strategy
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import PipelineSpec

URL_KEY = "RETUNE_URL_KEY"
"""Environment variable with the API key for `--url`."""


_STRATEGIES: dict[str, Strategy] = {"plain": "plain", "few_shot": "few_shot", "rag": "rag"}


@dataclass(frozen=True)
class Asked:
    """A model, where it answers, and how it is asked.

    Attributes:
        model: What its server calls it.
        place: A URL, or the name of an endpoint; empty: the spec's.
        strategy: How it is asked.
    """

    model: str
    place: str = ""
    strategy: Strategy = "plain"

    @property
    def title(self) -> str:
        """The model, with its strategy unless that is plain."""
        return self.model if self.strategy == "plain" else f"{self.model} ({self.strategy})"


class GivenConnections(EnvironmentConnections):
    """Knows endpoints by their URL too."""

    def endpoint(self, name: str) -> EndpointAddress:
        """Return an address; raises SetupError where the variable of a name is missing."""
        if "://" not in name:
            return super().endpoint(name)
        return EndpointAddress(name.rstrip("/").removesuffix("/v1"), os.environ.get(URL_KEY, ""))


def asked_of(
    models: Sequence[str], urls: Sequence[str], connections: Sequence[str], strategies: Sequence[str]
) -> list[Asked]:
    """Return the models that a command line names; what is given once holds for each of them.

    Args:
        models: What their servers call them.
        urls: Servers; empty texts are as good as none.
        connections: Names of endpoints, likewise.
        strategies: Of asking.

    Raises:
        SetupError: An option is given too often, or has a value that is none.
    """
    urls, connections = [one for one in urls if one], [one for one in connections if one]
    problems = [
        Problem(f"--strategy {one!r} is none", f"take {', '.join(_STRATEGIES)}")
        for one in strategies
        if one not in _STRATEGIES
    ]
    # Not shown: where the scheme is forgotten, a password may stand in it all the same.
    if any("://" not in one for one in urls):
        problems.append(Problem("--url is no web address", "give http(s)://HOST"))
    if urls and connections:
        problems.append(Problem("both --url and --connection are given", "give one of them"))
    for name, given in (("url", urls), ("connection", connections), ("strategy", strategies)):
        if len(given) > len(models):
            problems.append(Problem(f"--{name} is given {len(given)} times", f"give at most {len(models)}"))
    if problems:
        raise SetupError(problems)
    places = _for_each(urls or connections, len(models), "")
    ways = _for_each(strategies, len(models), "plain")
    return [
        Asked(model, place, _STRATEGIES[way]) for model, place, way in zip(models, places, ways, strict=True)
    ]


def _for_each(given: Sequence[str], count: int, default: str) -> list[str]:
    return list(given) if len(given) == count else [given[0] if given else default] * count


def check_places(asked: Sequence[Asked]) -> None:
    """Make sure that addresses are free of secrets, and that a key goes to one host only.

    Raises:
        SetupError: Says which address is not as it should be.
    """
    urls = {one.place for one in asked if "://" in one.place}
    for url in urls:
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # half of an IPv6 address, or a port that is none
            sound = False
        if not sound:
            raise SetupError("--url is no web address", "give http(s)://HOST")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise SetupError(
                f"--url with host {parts.hostname} holds a user, a password, a query or a fragment",
                f"leave it out, and put the API key into {URL_KEY}",
            )
    hosts = {(urlsplit(url).scheme, urlsplit(url).netloc) for url in urls}
    if len(hosts) > 1 and os.environ.get(URL_KEY):
        raise SetupError(
            f"{URL_KEY} is set, and there are two servers: a key would go to the wrong one too",
            "name them with --connection: RETUNE_ENDPOINT_<NAME> and RETUNE_ENDPOINT_<NAME>_KEY",
        )


def contenders_of(
    asked: Sequence[Asked],
    questions: Questions,
    spec: PipelineSpec,
    settings: Settings,
    report: Callable[[str], None],
) -> list[tuple[Contender, Prompter]]:
    """Return who answers, each with what makes its prompts; names are told apart by the place.

    Raises:
        DataError: Examples or documents are to be shown, and no dataset is prepared.
        SetupError: Two of them are the same.
    """
    titles = [one.title for one in asked]
    if len(set(titles)) < len(titles):
        titles = [f"{one.title} at {one.place or spec.evaluation.endpoint}" for one in asked]
    if len(set(titles)) < len(titles):
        raise SetupError(f"{titles[0]} would be compared with itself", "give another model, URL or strategy")
    found = []
    for title, one in zip(titles, asked, strict=True):
        contender = Contender(
            spec_digest=spec.digest,
            name=title,
            model_name=one.model,
            model_digest=one.model if one.model.startswith("sha256:") else "",
            strategy=one.strategy,
            place={"connection": one.place or spec.evaluation.endpoint},
        )
        prompter = _prompter(contender, questions, spec, settings, report)
        found.append((contender.model_copy(update={"prompt_digest": prompter.digest}), prompter))
    return found


def _prompter(
    contender: Contender,
    questions: Questions,
    spec: PipelineSpec,
    settings: Settings,
    report: Callable[[str], None],
) -> Prompter:
    if contender.strategy == "plain":
        return Plain()
    dataset = questions.dataset
    if dataset is None:
        raise DataError(
            f"--strategy {contender.strategy} keeps what is held out, out of prompts, and no dataset of "
            f"{spec.pipeline} is prepared here",
            "run its tune DAG first, or ask plainly",
        )
    # What is asked is what must stay out of prompts.
    asked = dataset.model_copy(update={"held_out": questions.split})
    return prompter_for(
        contender, spec, asked, questions.artifacts, settings, GivenConnections(), report=report
    )


def drop_answers(
    contenders: Sequence[tuple[Contender, Prompter]], spec: PipelineSpec, settings: Settings
) -> None:
    """Drop the answers that are kept of models which are known by a name only.

    A name may stand for other weights by now; a digest cannot.

    Args:
        contenders: Who answers.
        spec: The pipeline's.
        settings: Says where answers are kept.
    """
    connections = GivenConnections()
    for contender, _ in contenders:
        if contender.model_digest:
            continue
        for made_for in (respondent_for, likelihoods_for):
            respondent = made_for(contender, spec, connections)
            if respondent is not None:
                answers_of(settings, spec.pipeline, respondent, "").path.unlink(missing_ok=True)

"""Who meets the evaluation sets, and where each of them answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from retune.errors import EndpointError, Problem, SetupError
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.likelihood import LikelihoodRespondent
from retune.evaluation.openai_respondent import OpenAIRespondent
from retune.evaluation.respondents import Respondent
from retune.evaluation.vertex_respondent import VertexRespondent
from retune.records import Contender, Model, Strategy
from retune.records.evaluation import ENDPOINT
from retune.settings import Connections
from retune.spec import PipelineSpec, seconds

_OnEndpoint = TypeVar("_OnEndpoint", bound=EndpointRespondent)


def contender_of(name: str, model: Model, spec: PipelineSpec) -> Contender:
    """Return a trained model as a contender: at the evaluation endpoint, or where it is hosted.

    Args:
        name: Its role.
        model: An adapter, which agents load under its digest, or a hosted model.
        spec: The frozen spec.
    """
    named = model.served_as if model.kind == "hosted" else model.digest
    return _contender(name, named, model.digest, model, spec)


def base_of(model: Model, spec: PipelineSpec) -> Contender:
    """Return what a model was trained from as a contender, where the model itself answers."""
    return _contender("base", model.base_model, model.base_digest, model, spec)


def finalists(
    candidate: Model, champion: Model | None, previous: Model | None, spec: PipelineSpec
) -> list[tuple[Contender, Model | None]]:
    """Return who meets the held-out set, each with the tuned model that it stands for.

    Baselines are of the candidate's base model, and answer where the candidate does. The base model is
    among them unasked where the gate compares with it: by a claim, or as no model serves yet.

    Args:
        candidate: The best on the validation set.
        champion: The model that is live; None where none is.
        previous: That of the release before the champion; it meets the set where the spec says so.
        spec: The frozen spec.
    """
    base, tuned = base_of(candidate, spec), contender_of("candidate", candidate, spec)
    found: list[tuple[Contender, Model | None]] = []
    if _asks_base(spec, champion):
        found.append((base, None))
    strategies: tuple[Strategy, ...] = ("few_shot", "rag")
    for strategy in strategies:
        if strategy in spec.evaluation.baselines:
            found.append((prompted(base, strategy, strategy), None))
    found.append((tuned, candidate))
    for strategy in spec.evaluation.tuned_with:
        found.append((prompted(tuned, strategy, f"{tuned.name}+{strategy}"), candidate))
    if champion is not None:
        found.append((contender_of("champion", champion, spec), champion))
    if previous is not None and "previous" in spec.evaluation.baselines:
        found.append((contender_of("previous", previous, spec), previous))
    return found


def prompted(contender: Contender, strategy: Strategy, name: str) -> Contender:
    """Return the same model under another prompt strategy and name.

    What the prompts hold is known once they are made: `prompt_digest` is empty until then.
    """
    return contender.model_copy(update={"name": name, "strategy": strategy})


def _asks_base(spec: PipelineSpec, champion: Model | None) -> bool:
    claimed = spec.gate.beats.base is not None or spec.gate.not_worse_than.base is not None
    return "base" in spec.evaluation.baselines or claimed or champion is None


def able(models: Sequence[Model], spec: PipelineSpec, report: Callable[[str], None]) -> list[Model]:
    """Return the models that can answer somewhere, and say of each other one why it cannot.

    Args:
        models: What the recipes made.
        spec: The frozen spec.
        report: Takes a line for each that cannot.

    Raises:
        EndpointError: None can.
    """
    found, problems = [], []
    for model in models:
        problem = _cannot(model, spec)
        if problem is None:
            found.append(model)
        else:
            problems.append(problem)
    if not found:
        raise EndpointError(
            problems or "no recipe made a model", "" if problems else "see the fine_tune tasks"
        )
    for problem in problems:
        report(f"not among the contenders: {problem}")
    return found


def respondent_for(contender: Contender, spec: PipelineSpec, connections: Connections) -> Respondent:
    """Return who answers for a contender; nothing is asked yet.

    Args:
        contender: Its record says where it answers.
        spec: The frozen spec.
        connections: Where addresses and credentials come from.

    Raises:
        SetupError: The connection says too little, or models of that backend cannot be asked.
    """
    place, model = contender.place, contender.model_name
    max_tokens, timeout_s = spec.evaluation.max_tokens, seconds(spec.evaluation.timeout)
    if contender.backend == ENDPOINT:
        return _on_endpoint(EndpointRespondent, contender, spec, connections)
    if contender.backend == "openai":
        name = place.get("connection") or "openai_default"
        account = connections.openai(name)
        return OpenAIRespondent(account, name, model, max_tokens=max_tokens, timeout_s=timeout_s)
    if contender.backend == "vertex":
        name, location = (
            place.get("connection") or "google_cloud_default",
            place.get("location") or "us-central1",
        )
        project = connections.google(name)
        return VertexRespondent(project, name, location, model, max_tokens=max_tokens, timeout_s=timeout_s)
    raise SetupError(
        f"{contender.name} is hosted by {contender.backend!r}, whose models cannot be asked",
        "evaluation asks models of openai, of vertex, and of endpoints with OpenAI's API",
    )


def likelihoods_for(
    contender: Contender, spec: PipelineSpec, connections: Connections
) -> LikelihoodRespondent | None:
    """Return who says how likely a contender finds a text; None where its backend tells it of no text.

    Args:
        contender: Its record says where it answers.
        spec: The frozen spec.
        connections: Where addresses and credentials come from.

    Raises:
        SetupError: The connection says too little.
    """
    if contender.backend != ENDPOINT:
        return None
    return _on_endpoint(LikelihoodRespondent, contender, spec, connections)


def _on_endpoint(
    kind: type[_OnEndpoint], contender: Contender, spec: PipelineSpec, connections: Connections
) -> _OnEndpoint:
    name = contender.place.get("connection") or spec.evaluation.endpoint
    return kind(
        connections.endpoint(name),
        name,
        contender.model_name,
        max_tokens=spec.evaluation.max_tokens,
        timeout_s=seconds(spec.evaluation.timeout),
    )


def _contender(name: str, model_name: str, digest: str, model: Model, spec: PipelineSpec) -> Contender:
    hosted = model.kind == "hosted"
    return Contender(
        spec_digest=spec.digest,
        name=name,
        model_name=model_name,
        model_digest=digest,
        backend=model.backend if hosted else ENDPOINT,
        place=model.place if hosted else {"connection": spec.evaluation.endpoint},
    )


def _cannot(model: Model, spec: PipelineSpec) -> Problem | None:
    """Say why a model cannot answer; None where it can."""
    recipe = f"recipe {model.recipe_index + 1}"
    if model.kind == "weights":
        return Problem(
            f"{recipe} made full weights, {model.digest}, and endpoint {spec.evaluation.endpoint!r} serves"
            " adapters of one base model",
            "take `tuning: lora` to have it judged; to serve full weights, start a server of their own on"
            f" the files of {model.uri}",
        )
    if model.kind == "hosted" and not model.served_as:
        return Problem(
            f"{recipe} made {model.uri}, which {model.backend} serves nowhere",
            "deploy it there by hand, or take a base model whose tuned models are served",
        )
    return None

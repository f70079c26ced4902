"""The verbs of `<pipeline>.tune` that ask contenders, wherever each is served."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from airflow.sdk import Context

from retune.airflow import configuration
from retune.airflow.configuration import AirflowConnections, AirflowFileSystems
from retune.airflow.operators.base import OnDataset, now
from retune.records import Contender, Dataset, EvalReport, Model, SetName, Split
from retune.spec import PipelineSpec
from retune.state import artifacts_index, held_out, placements, releases
from retune.state.database import Database

_LEASE = timedelta(hours=2)
_LOAD_TIMEOUT_S = 300.0
_MEASURED = ("base", "candidate", "champion")
"""Whose latency is measured: the others answer as one of these does, with a longer prompt."""


@dataclass(frozen=True)
class Asked:
    """Who is asked what: an entry of ChooseCandidate's list."""

    contender: Contender
    model: Model | None
    set_name: SetName
    split: Split

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON: without the curves, which make up most of a model and are not asked."""
        model = self.model.model_copy(update={"curves": ()}) if self.model else None
        return {
            "contender": self.contender.to_json(),
            "model": model.to_json() if model else None,
            "set_name": self.set_name,
            "split": self.split.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Asked:
        """Read an entry."""
        if data["set_name"] not in get_args(SetName):
            raise ValueError(f"{data['set_name']!r} is no set of {get_args(SetName)}")
        return cls(
            contender=Contender.from_json(data["contender"]),
            model=Model.from_json(data["model"]) if data["model"] else None,
            set_name=data["set_name"],
            split=Split.model_validate(data["split"]),
        )


class Asking(OnDataset):
    """Base of the verbs that ask contenders."""

    def ask(self, asked: Asked, spec: PipelineSpec, dataset: Dataset, run_id: str) -> EvalReport:
        """Load the contender's model where it is an adapter, and let it answer a set."""
        from retune.evaluation.evaluate import evaluate
        from retune.evaluation.guard_sets import judge_safety
        from retune.evaluation.prompting.prompters import prompter_for

        contender, guards = asked.contender, asked.set_name in ("forgetting", "safety")
        parity = self._loaded(asked, spec, run_id)
        prompter = prompter_for(
            contender,
            spec,
            dataset,
            self.artifacts,
            self.settings,
            AirflowConnections(),
            files=AirflowFileSystems(),
            report=self.log.info,
        )
        report = evaluate(
            contender.model_copy(update={"prompt_digest": prompter.digest}),
            asked.split,
            asked.set_name,
            spec=spec,
            # What guards ask is no question of the task.
            labels=() if guards else dataset.labels,
            connections=AirflowConnections(),
            artifacts=self.artifacts,
            settings=self.settings,
            prompter=prompter,
            base_model=asked.model.base_model if asked.model else "",
            latency=asked.set_name == "held_out" and contender.name in _MEASURED,
            noise=asked.set_name == "held_out" and contender.name == "candidate",
            judge=judge_safety if asked.set_name == "safety" else None,
            report=self.log.info,
        )
        with self.db.write() as tx:
            # So that no cleanup takes them for nobody's while the run waits for its decision.
            artifacts_index.add(tx, self.pipeline, "outcomes", report.outcomes, now())
        return report.model_copy(update={"parity": parity})

    def _loaded(self, asked: Asked, spec: PipelineSpec, run_id: str) -> str:
        """Load an adapter, and say how its server agrees with its trainer; nothing where it is none."""
        from retune.evaluation.parity import check_parity, recorded
        from retune.serving import rollout

        model, endpoint = asked.model, spec.evaluation.endpoint
        if model is None or model.kind != "adapter":
            return ""
        until, purpose = now() + _LEASE, lease(run_id, asked.contender.name)
        rollout.place(model, endpoint, purpose, until, db=self.db, now=now())
        rollout.wait_ready(model.digest, endpoint, db=self.db, timeout_s=_LOAD_TIMEOUT_S)
        address = configuration.AirflowConnections().endpoint(endpoint)
        parity = check_parity(recorded(model.digest, self.artifacts), address, model.digest)
        self.log.info("%s: %s", asked.contender.name, parity)
        return parity


def let_go(db: Database, spec: PipelineSpec, run_id: str, *names: str) -> None:
    """Give the contenders' places at the evaluation endpoint back."""
    with db.write() as tx:
        for name in names:
            placements.release(tx, spec.evaluation.endpoint, lease(run_id, name))


def by_key(reports: Any) -> dict[str, EvalReport]:
    """Return what Evaluate returned as the gate names it: of the held-out set by the contender's name."""
    from retune.evaluation.gate import key_of

    read = [EvalReport.from_json(report) for report in reports]
    return {key_of(report): report for report in read}


def lease(run_id: str, name: str) -> str:
    """Return the purpose under which a contender is loaded for evaluation."""
    return f"evaluation:{run_id}:{name}"


class ChooseCandidate(Asking):
    """Lets the trained models compete on the validation set.

    Returns who is asked what before the decision, each as `Asked` has it: the contenders on the
    held-out set, the candidate on rows that it was trained on, candidate and base on the guards' sets.
    The candidate's entry on its training rows has `peers` besides: the models with their reports on
    the validation set, the candidate's first.

    Args:
        models: Lists of the trained Models; recipes that failed are not among them.
        kwargs: As OnDataset.
    """

    def __init__(self, *, models: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.models = models

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Choose; raises EndpointError where a contender does not answer, or no model can."""
        from retune.evaluation.contenders import able
        from retune.evaluation.selection import choose

        spec, dataset = self.inputs(context)
        made = [Model.from_json(model) for some in self.models for model in self.read(some, context) or ()]
        models = able(made, spec, self.log.warning)
        reports = [self._compete(model, spec, dataset, context["run_id"]) for model in models]
        best = choose(reports, spec)
        self.log.info("the candidate is %s, of recipe %d", models[best].digest, models[best].recipe_index + 1)
        entries = [asked.to_json() for asked in self._asked(models[best], spec, dataset)]
        order = [best, *(number for number in range(len(models)) if number != best)]
        entries[0]["peers"] = [
            {"model": models[number].to_json(), "report": reports[number].to_json()} for number in order
        ]
        return entries

    def _compete(self, model: Model, spec: PipelineSpec, dataset: Dataset, run_id: str) -> EvalReport:
        from retune.evaluation.contenders import contender_of

        name = f"recipe-{model.recipe_index + 1}"
        asked = Asked(contender_of(name, model, spec), model, "validation", dataset.validation)
        report = self.ask(asked, spec, dataset, run_id)
        let_go(self.db, spec, run_id, name)
        return report

    def _asked(self, candidate: Model, spec: PipelineSpec, dataset: Dataset) -> list[Asked]:
        from retune.advice.curve_plan import cut
        from retune.advice.diagnosis import ASKED
        from retune.evaluation.contenders import base_of, contender_of, finalists
        from retune.evaluation.guard_sets import guard_splits

        with self.db.read() as tx:
            live, before = releases.live(tx, self.pipeline), releases.previous(tx, self.pipeline)
        tuned, base = contender_of("candidate", candidate, spec), base_of(candidate, spec)
        [part] = cut(dataset, (min(ASKED, dataset.train.rows),), self.artifacts)
        found = [Asked(tuned, candidate, "train", part.dataset.train)]
        for contender, model in finalists(
            candidate, live.model if live else None, before.model if before else None, spec
        ):
            found.append(Asked(contender, model, "held_out", dataset.held_out))
        for name, split in guard_splits(spec, self.settings, self.artifacts).items():
            found += [Asked(tuned, candidate, name, split), Asked(base, None, name, split)]
        with self.db.write() as tx:
            for asked in found:
                artifacts_index.add(tx, self.pipeline, "asked", asked.split.artifact, now())
        return found


class Evaluate(Asking):
    """Lets one contender answer one set; returns an EvalReport.

    Args:
        entry: One of ChooseCandidate's entries.
        kwargs: As OnDataset.
    """

    def __init__(self, *, entry: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entry = entry

    def execute(self, context: Context) -> dict[str, Any]:
        """Evaluate; raises EndpointError where the contender does not answer."""
        spec, dataset = self.inputs(context)
        asked = Asked.from_json(self.read(self.entry, context))
        name = asked.contender.name
        # Read by the task's map_index_template.
        context["title"] = name if asked.set_name == "held_out" else f"{name}, {asked.set_name}"  # type: ignore[typeddict-unknown-key]
        if asked.set_name == "held_out":
            held = dataset.held_out.artifact.digest
            with self.db.write() as tx:
                # Before the first answer: one that a crash cuts off has seen it too.
                held_out.use(tx, self.pipeline, held, self.actor(context), name, now())
                used = held_out.uses(tx, self.pipeline, held)
            self.log.info("%d runs have used the held-out set %s", used, held)
        return self.ask(asked, spec, dataset, context["run_id"]).to_json()

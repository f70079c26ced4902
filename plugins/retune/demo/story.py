"""The demo: rows, a fine-tuned model that serves, drift, and a second release, by real parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from retune.demo import results
from retune.demo.base import build_base
from retune.demo.clock import Clock
from retune.demo.ending import end_all, end_on_sigterm
from retune.demo.stack import ENDPOINT, Stack
from retune.demo.traffic import Sent, five_answers, send
from retune.errors import EndpointError, SetupError
from retune.records import Release
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec
from retune.state import drift, releases, replicas, routes
from retune.state.database import Database

PIPELINE = "support-tickets"
_SPEC = f"include/pipelines/{PIPELINE}.yaml"
_MOVED = "include/data/later/support_tickets_new_product.jsonl"
_REQUESTS = 300
_BASE_STEPS = 200
_RUN_S = 420.0


def folder(settings: Settings) -> Path:
    """Return the demo's project folder."""
    return settings.home / "demo"


def run(settings: Settings, console: Console) -> None:
    """Run the whole loop once, leave it running, and write `<home>/demo.json`.

    Raises:
        SetupError: A part did not start, or a run failed.
        KeyboardInterrupt: After everything that was started has ended.
    """
    stop(settings)
    end_on_sigterm()
    project = folder(settings)
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(settings.project / "include", project / "include")
    clock = Clock(console)
    stack = Stack(settings.project, project, clock.tell)
    try:
        found = _Story(stack, clock).tell()
    except BaseException:
        console.print("ending what the demo started ...")
        stop(settings)
        raise
    results.save(settings.home / "demo.json", found)
    results.show(console, found)
    _addresses(stack, settings, console, found)


def stop(settings: Settings) -> int:
    """End all that an earlier demo started; returns how many processes ended."""
    return end_all(folder(settings) / ".retune")


class _Story:
    def __init__(self, stack: Stack, clock: Clock) -> None:
        self.stack = stack
        self.clock = clock
        self.api = stack.api
        self.db = Database(stack.settings.state_url)
        self.sent = 0
        self.spec: PipelineSpec = load_spec(stack.settings.resolve(_SPEC))

    def tell(self) -> dict[str, Any]:
        """Go through the loop and return what `demo.json` holds."""
        self._start()
        tune, deploy, watch = (f"{PIPELINE}.{verb}" for verb in ("tune", "deploy", "watch"))
        for dag_id in (tune, deploy, watch):
            self.api.unpause(dag_id, timeout_s=120)
        with self.clock.stage("first tuning"):
            self._follow(tune, self.api.trigger(tune))
        first = self._released(1)
        with self.clock.stage("first rollout"):
            self._follow(deploy, self._next_run(deploy, known=0))
        entries = [self._entry(first, tune)]
        with self.clock.stage("usual traffic"):
            self._traffic(self._usual_prompts())
        with self.clock.stage("watch usual traffic"):
            self._follow(watch, self.api.trigger(watch))
        calm = self._last_drift()
        self.clock.tell(f"watch says: {calm['reason']}")
        with self.clock.stage("moved traffic"):
            self._traffic(self._moved_prompts())
        self._labelled_tickets_arrive()
        with self.clock.stage("watch moved traffic"):
            self._follow(watch, self.api.trigger(watch))
        moved = self._last_drift()
        self.clock.tell(f"watch says: {moved['reason']}")
        if not moved["drifted"]:
            raise SetupError("the moved traffic was not found to have drifted", "see the drift report")
        with self.clock.stage("second tuning, by itself"):
            self._follow(tune, self._next_run(tune, known=1))
        second = self._released(2)
        with self.clock.stage("second rollout"):
            self._follow(deploy, self._next_run(deploy, known=1))
        entries.append(self._entry(second, tune))
        return {
            "pipeline": PIPELINE,
            "releases": entries,
            "drift": {"before": calm, **moved},
            "stages": {**self.clock.stages, "total": self.clock.elapsed},
            "live": self._live(),
        }

    def _start(self) -> None:
        with self.clock.stage("start Airflow and MLflow, build the tiny base model"):
            self.stack.start_airflow()
            settings = self.stack.settings
            build_base(settings, self.spec, settings.resolve(_SPEC), _BASE_STEPS)
            self.stack.start_serving(self.spec.recipes[0].base_model)
            self.stack.wait_for_airflow()
        with self.clock.stage("start vLLM, the gateway and the agent"):
            self.stack.wait_for_serving()

    def _follow(self, dag_id: str, run_id: str) -> None:
        run = self.api.follow(dag_id, run_id, _RUN_S, self.clock.tell)
        name = f"{dag_id} ({run['run_type']})"
        count = sum(key.startswith(name) for key in self.clock.stages)
        self.clock.stages[f"{name} {count + 1}"] = results.run_seconds(self.api, dag_id, run_id)

    def _next_run(self, dag_id: str, known: int) -> str:
        """Return the id of the run that Airflow starts by itself after `known` earlier ones."""

        def newest() -> str | None:
            runs = self.api.runs(dag_id)
            return str(runs[0]["dag_run_id"]) if len(runs) > known else None

        return str(self.api.wait_until(f"a run of {dag_id} by its asset", newest, 60))

    def _released(self, number: int) -> Release:
        with self.db.read() as tx:
            found = releases.newest(tx, PIPELINE)
        if found is None or found.number != number:
            raise SetupError(f"the gate did not make release {number}", "open the run's evaluation page")
        self.clock.tell(f"release {number}: {found.decision.reason}")
        return found

    def _entry(self, release: Release, dag_id: str) -> dict[str, Any]:
        run = self.api.run(dag_id, release.dag_run_id)
        answers = five_answers(
            self.stack.gateway_url,
            self.spec.deploy.alias,
            self.spec.data.system_prompt,
            "Where is my parcel?",
        )
        wrong = [answer["model"] for answer in answers if answer["model"] != release.model.digest]
        if wrong:
            raise EndpointError(f"the gateway answered by {wrong[0]}, not release {release.number}")
        return results.release_entry(release, run["run_type"], answers)

    def _usual_prompts(self) -> list[str]:
        from retune.testing.tickets import tickets

        return [str(row["text"]) for row in tickets(_REQUESTS, seed=101)]

    def _moved_prompts(self) -> list[str]:
        from retune.testing.tickets import tickets

        return [str(row["text"]) for row in tickets(_REQUESTS, seed=102, moved=True)]

    def _traffic(self, prompts: list[str]) -> None:
        sent: Sent = send(
            self.stack.gateway_url,
            self.spec.deploy.alias,
            self.spec.data.system_prompt,
            prompts,
            self.clock.tell,
        )
        if sent.failed:
            raise EndpointError(f"{sent.failed} of {len(prompts)} requests failed at the gateway")
        self.sent += len(prompts)
        self._wait_for_capture()

    def _wait_for_capture(self) -> None:
        from retune.text.captured import read_window

        def shipped() -> bool:
            url, since = self.stack.settings.captured_url, datetime.fromtimestamp(0, UTC)
            return len(read_window(url, PIPELINE, None, since, self.sent)) >= self.sent

        self.api.wait_until("the agent's shipping of captured traffic", shipped, 60)

    def _labelled_tickets_arrive(self) -> None:
        project = self.stack.settings.project
        arrivals = project / "include" / "data" / "arrivals"
        arrivals.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / _MOVED, arrivals)
        self.clock.tell("labelled tickets about the new product arrived in include/data/arrivals")

    def _last_drift(self) -> dict[str, Any]:
        with self.db.read() as tx:
            report = drift.last(tx, PIPELINE)
        if report is None:
            raise SetupError("watch made no drift report", "open its run")
        return report.to_json()

    def _live(self) -> dict[str, Any]:
        with self.db.read() as tx:
            route = routes.get(tx, self.spec.deploy.alias)
            seen = replicas.live(tx, ENDPOINT, datetime.now(UTC))
        if route is None:
            raise SetupError(f"nothing serves {self.spec.deploy.alias}", "open the deploy run")
        return {**route.to_json(), "observed": {state.agent: state.routes for state in seen}}


def _addresses(stack: Stack, settings: Settings, console: Console, found: dict[str, Any]) -> None:
    """Print what is live and where to look."""
    live: Callable[[str], Any] = found["live"].__getitem__
    release = live("targets")[0]
    console.print(
        f"live: {live('alias')} -> release {release['release']} ({release['model_digest'][:19]}), "
        f"{found['stages']['total']:.0f} s in all",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"Airflow   {stack.airflow_url}   user admin, password in {stack.passwords}", soft_wrap=True
    )
    console.print(f"MLflow    {stack.mlflow_url}")
    console.print(f"gateway   {stack.gateway_url}/v1   model={live('alias')}")
    console.print(f"results   {settings.home / 'demo.json'}", soft_wrap=True)
    console.print("`make demo-stop` ends it all.")

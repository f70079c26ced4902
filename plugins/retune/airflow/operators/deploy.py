"""The verbs of `<pipeline>.deploy`. Everything is read from the release and its own frozen spec."""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.operators.base import RetuneOperator, now
from retune.errors import ConflictError, EndpointError
from retune.records import Release, Route
from retune.spec import PipelineSpec
from retune.state import releases, replicas, routes, specs
from retune.tracking import Tracking

_ANSWERS = 5
_TIMEOUT_S = 300.0
_PATIENCE_S = 60.0
_AGAIN_AFTER_S = 0.5


class PlanRollout(RetuneOperator):
    """Finds what to roll out; returns a Release, or skips the run where nothing waits or can be rolled out.

    A hosted release stays with its provider: the run's log says how it is asked there.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan; the run's param `release` names one that was rolled back and shall be tried again."""
        from retune.serving.hosted import how_to_call, is_hosted

        asked = context["params"].get("release")
        with self.db.read() as tx:
            if asked:
                found: Release | None = releases.get(tx, self.pipeline, int(asked))
            else:
                found = releases.waiting(tx, self.pipeline)
        if found is None:
            raise AirflowSkipException("no release waits: the newest is live or was rolled back")
        if is_hosted(found):
            raise AirflowSkipException(how_to_call(found))
        self.log.info("release %d is rolled out: %s", found.number, found.decision.reason)
        return found.to_json()


class _Rollout(RetuneOperator):
    """Base of the verbs that move one release.

    Args:
        release: A Release.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, release: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.release = release

    def planned(self, context: Context) -> tuple[Release, PipelineSpec]:
        """Return the release and the spec that it was made under."""
        release = Release.from_json(self.read(self.release, context))
        with self.db.read() as tx:
            return release, specs.load(tx, release.spec_digest)

    def take_back(self, route: Route, context: Context) -> str:
        """Lead the alias back to the release that answered before, and say what was done."""
        from retune.serving import rollout

        with self.db.read() as tx:
            current, previous = routes.get(tx, route.alias), routes.previous(tx, route.alias)
        if current is None or current.targets != route.targets:
            return "the route has changed meanwhile and was left alone"
        if previous is None:
            return "no release answered before it, so it was left in place; see the agent's log"
        try:
            back = rollout.rollback(self.pipeline, self.actor(context), db=self.db, now=now())
        except (EndpointError, ConflictError) as error:
            return f"the route was left in place: {error}"
        done = f"rolled back to release {back.targets[0].release}"
        try:
            rollout.wait_routed(back.alias, back.version, back.endpoint, db=self.db, timeout_s=_TIMEOUT_S)
        except EndpointError as error:
            return f"{done}, which a gateway does not follow yet: {error}"
        return done


class LoadEverywhere(_Rollout):
    """Has every replica load the release's model, and waits until each has answered with it."""

    def execute(self, context: Context) -> None:
        """Load; raises EndpointError where a replica cannot."""
        from retune.serving import rollout

        release, spec = self.planned(context)
        endpoint, purpose = spec.deploy.endpoint, f"release:{release.pipeline}:{release.number}"
        rollout.place(release.model, endpoint, purpose, None, db=self.db, now=now())
        ready = rollout.wait_ready(release.model.digest, endpoint, db=self.db, timeout_s=_TIMEOUT_S)
        self.log.info("%d replicas answer with %s", len(ready), release.model.digest)


class RouteTraffic(_Rollout):
    """Leads the alias to the release, and waits until every gateway does so; returns the Route."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Route; raises EndpointError where a gateway does not follow, after a rollback if that can be."""
        from retune.serving import rollout

        release, spec = self.planned(context)
        route = rollout.deploy(release, spec, db=self.db, now=now())
        try:
            rollout.wait_routed(route.alias, route.version, route.endpoint, db=self.db, timeout_s=_TIMEOUT_S)
        except EndpointError as error:
            # Left in place it would go live later, when nobody verifies it.
            reason = f"the gateways do not lead to release {release.number}: {error}"
            self.log.error("%s", reason)
            raise EndpointError(reason, self.take_back(route, context)) from error
        self.log.info("%r leads to release %d since version %d", route.alias, release.number, route.version)
        return route.to_json()


class Verify(_Rollout):
    """Asks every gateway for the alias, and takes the release off again where an answer is not its own.

    Args:
        route: The Route.
        release: A Release.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, route: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.route = route

    def execute(self, context: Context) -> None:
        """Verify; raises EndpointError, after a rollback where an earlier release can answer."""
        release, _ = self.planned(context)
        route = Route.from_json(self.read(self.route, context))
        with self.db.read() as tx:
            live = replicas.live(tx, route.endpoint, now())
        gateways = [state.gateway_url for state in live if state.gateway_url]
        try:
            for url in gateways:
                ask(url, route.alias, release.model.digest)
            if not gateways:
                raise EndpointError(f"no agent of {route.endpoint!r} reports a gateway", "see its log")
        except EndpointError as error:
            reason = f"release {release.number} does not answer as it should: {error}"
            self.log.error("%s", reason)
            raise EndpointError(reason, self.take_back(route, context)) from error
        self.log.info("%d gateways answer %r with release %d", len(gateways), route.alias, release.number)
        Tracking(self.settings, self.log.warning).mirror(release)


def ask(url: str, alias: str, digest: str, patience_s: float | None = None) -> None:
    """Ask a gateway several times whether an alias answers with a model.

    Args:
        url: The gateway's base URL.
        alias: What to ask for.
        digest: The model that must answer.
        patience_s: How long errors are borne, such as those of a vLLM that starts again.

    Raises:
        EndpointError: Another model answered, or errors did not end.
    """
    from retune.serving.endpoint import Replica

    deadline = time.monotonic() + (_PATIENCE_S if patience_s is None else patience_s)
    with Replica(url) as gateway:
        good = 0
        while good < _ANSWERS:
            try:
                answered = gateway.probe(alias).json().get("model")
            except EndpointError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_AGAIN_AFTER_S)
                continue
            if answered != digest:
                raise EndpointError(f"{url} answered {alias!r} with {answered}, not {digest}")
            good += 1

"""The agent: one per host that runs a replica. It makes the host as the state wants it, and reports."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from retune.artifacts import Artifacts
from retune.errors import RetuneError
from retune.records import Model, Route
from retune.serving.adapters import Adapters
from retune.serving.endpoint import Replica
from retune.serving.routing import Routing
from retune.serving.shipping import Shipper
from retune.settings import Settings
from retune.state import placements, replicas, routes
from retune.state.database import Database
from retune.state.replicas import ReplicaState

_log = logging.getLogger(__name__)


def run_agent(
    *,
    db: Database,
    artifacts: Artifacts,
    settings: Settings,
    name: str,
    endpoint: str,
    replica_url: str,
    base_model: str,
    gateway_dir: Path | None,
    gateway_url: str,
    stop: Callable[[], bool],
    base_digest: str = "",
    poll_s: float = 0.5,
) -> None:
    """Run until `stop` says so.

    Args:
        db: Desired state is read there and observed state written.
        artifacts: Where adapters lie.
        settings: Local home and the place of captured traffic.
        name: This agent's name, stable over restarts.
        endpoint: The endpoint's name.
        replica_url: Base URL of the vLLM server, without `/v1`.
        base_model: What that server serves, as recipes name it.
        gateway_dir: Folder of the gateway on this host; None where it runs none.
        gateway_url: Base URL of that gateway, empty where there is none.
        stop: Asked once a loop.
        base_digest: Digest of the base model's folder; empty where it is not known.
        poll_s: Seconds between two loops.
    """
    with Replica(replica_url) as replica, Replica(gateway_url or replica_url) as client:
        agent = _Agent(
            db,
            ReplicaState(name, endpoint, replica_url, base_model, gateway_url=gateway_url),
            Adapters(replica, artifacts, settings.home / "adapters", base_model, base_digest),
            Routing(gateway_dir, client, replica_url) if gateway_dir else None,
            Shipper(gateway_dir, settings.captured_url, name) if gateway_dir else None,
        )
        while not stop():
            agent.step()
            time.sleep(poll_s)


class _Agent:
    def __init__(
        self,
        db: Database,
        identity: ReplicaState,
        adapters: Adapters,
        routing: Routing | None,
        shipper: Shipper | None,
    ) -> None:
        self._db = db
        self._identity = identity
        self._adapters = adapters
        self._routing = routing
        self._shipper = shipper
        self._desired: tuple[list[Model], list[Route]] | None = None
        self._said: dict[str, str] = {}

    def step(self) -> None:
        """One loop: read, act, ship, report. What fails is said and tried again in the next."""
        self._guard("state", self._read)
        healthy = self._desired is not None and self._guard("replica", self._load)
        if healthy and self._routing:
            self._guard("gateway", self._route)
        if self._shipper:
            self._guard("traffic", self._shipper.ship)
        self._guard("report", lambda: self._report(healthy))

    def _read(self) -> None:
        now = datetime.now(UTC)
        with self._db.read() as tx:
            wanted = placements.wanted(tx, self._identity.endpoint, now)
            found = routes.for_endpoint(tx, self._identity.endpoint)
        self._desired = wanted, found

    def _load(self) -> None:
        models, found = self._desired or ([], [])
        targets = {target.model_digest for route in found for target in route.targets}
        # Releases that answer come first: after a restart of the server they are awaited most.
        wanted: dict[str, Model | None] = dict.fromkeys(sorted(targets))
        wanted |= {model.digest: model for model in models}
        keep = self._routing.in_force() if self._routing else set()
        self._adapters.reconcile(wanted, keep)

    def _route(self) -> None:
        if self._routing and self._desired:
            self._routing.apply(self._desired[1], self._adapters.ready)

    def _report(self, healthy: bool) -> None:
        confirmed = self._routing.confirmed if self._routing else {}
        state = ReplicaState(
            agent=self._identity.agent,
            endpoint=self._identity.endpoint,
            url=self._identity.url,
            base_model=self._identity.base_model,
            healthy=healthy,
            ready=tuple(sorted(self._adapters.ready)),
            failed=dict(self._adapters.failed),
            routes=dict(confirmed) if healthy else {},
            gateway_url=self._identity.gateway_url,
        )
        with self._db.write() as tx:
            replicas.report(tx, state, datetime.now(UTC))

    def _guard(self, part: str, action: Callable[[], None]) -> bool:
        """Run a part of the loop; say an error once, and once that it is over."""
        try:
            action()
        except Exception as error:  # a full disk, a store's own client: the other parts go on
            what = str(error) if isinstance(error, RetuneError | OSError) else repr(error)
            if self._said.get(part) != what:
                _log.warning("%s: %s", part, what)
            self._said[part] = what
            return False
        if self._said.pop(part, None):
            _log.info("%s: well again", part)
        return True


def run_process(
    settings: Settings,
    *,
    name: str,
    endpoint: str,
    replica_url: str,
    base_model: str,
    gateway_dir: Path | None,
    gateway_url: str,
    base_digest: str = "",
) -> None:
    """Run an agent as a process of its own, until SIGTERM or SIGINT; arguments as for `run_agent`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    run_agent(
        db=Database(settings.state_url),
        artifacts=Artifacts(settings.artifacts_url),
        settings=settings,
        name=name,
        endpoint=endpoint,
        replica_url=replica_url,
        base_model=base_model,
        gateway_dir=gateway_dir,
        gateway_url=gateway_url,
        stop=stopped.is_set,
        base_digest=base_digest,
    )


def main() -> None:
    """Run an agent from the command line; settings come from `RETUNE_*` variables."""
    parser = argparse.ArgumentParser(prog="python -m retune.serving.agent")
    for option in ("--name", "--endpoint", "--replica-url", "--base-model"):
        parser.add_argument(option, required=True)
    parser.add_argument("--gateway-dir", type=Path)
    for option in ("--gateway-url", "--base-digest"):
        parser.add_argument(option, default="")
    run_process(Settings.load(), **vars(parser.parse_args()))


if __name__ == "__main__":
    main()

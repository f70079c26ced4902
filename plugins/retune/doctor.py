"""`retune doctor`: is this installation fit, and what to do where it is not."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from retune.errors import RetuneError
from retune.pools import GPU_POOL, airflow_command, read_endpoint, read_pools
from retune.settings import EnvironmentConnections, Settings
from retune.spec import PipelineSpec, load_spec
from retune.state import replicas
from retune.state.database import Database
from retune.tracking import without_passwords

Level = Literal["ok", "warn", "fail"]
_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
_TIMEOUT_S = 5.0
_LEAST_GIB, _GOOD_GIB = 2, 10
_PORTS = {8080: "Airflow", 8088: "gateway", 8000: "vLLM"}


@dataclass(frozen=True)
class Finding:
    """What one look brought."""

    part: str
    level: Level
    what: str
    action: str = ""


def examine(settings: Settings, console: Console) -> bool:
    """Look at every part of the installation and print what was found.

    Args:
        settings: The installation.
        console: Takes one line a finding.

    Returns:
        Whether nothing failed; warnings do not count.
    """
    findings = [finding for look in LOOKS for finding in look(settings)]
    for finding in findings:
        line = Text.assemble(
            (f"{finding.level:5}", _COLOURS[finding.level]), (f"{finding.part:12} ", "bold"), finding.what
        )
        if finding.action:
            line.append(f"\n{'':18}-> {finding.action}", "dim")
        console.print(line, soft_wrap=True)
    return all(finding.level != "fail" for finding in findings)


def look_at_state(settings: Settings) -> Iterator[Finding]:
    """Does the state answer, with this version's schema?"""
    db = Database(settings.state_url)
    try:
        db.check()
    except RetuneError as error:
        problem = error.problems[0]
        yield Finding("state", "fail", problem.what, problem.action or "run `retune migrate`")
        return
    yield Finding("state", "ok", str(db))


def look_at_mlflow(settings: Settings) -> Iterator[Finding]:
    """Is MLflow's store initialised, or its server up?"""
    uri = settings.mlflow_uri
    if uri.startswith(("http://", "https://")):
        error, shown = _unreachable(f"{uri.rstrip('/')}/health"), without_passwords(uri)
        if error:
            yield Finding("MLflow", "fail", f"{shown}: {error}", "start the server, or set RETUNE_MLFLOW_URI")
        else:
            yield Finding("MLflow", "ok", shown)
        return
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    url = make_url(uri)
    shown = url.render_as_string(hide_password=True)
    try:
        missing = url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()
        if missing or not inspect(create_engine(url)).has_table("experiments"):
            yield Finding("MLflow", "fail", f"{shown} is not initialised", "run `retune migrate`")
            return
    except SQLAlchemyError as error:
        yield Finding("MLflow", "fail", f"{shown}: {error}", "check RETUNE_MLFLOW_URI")
        return
    yield Finding("MLflow", "ok", shown)


def look_at_pool(settings: Settings) -> Iterator[Finding]:
    """Is Airflow's GPU pool there, and does it count deferred tasks?"""
    command = airflow_command()
    if command is None:
        yield Finding("pool", "warn", "AIRFLOW_HOME is not set", "set it, if Airflow runs on this host")
        return
    try:
        pools = read_pools(command)
    except RetuneError as error:
        yield Finding("pool", "fail", error.problems[0].what, error.problems[0].action)
        return
    if pools is None:
        yield Finding("pool", "fail", "Airflow's database does not answer", "run `airflow db migrate`")
    elif GPU_POOL not in pools:
        yield Finding(
            "pool", "fail", f"pool {GPU_POOL} is missing: its tasks never start", "run `retune migrate`"
        )
    elif str(pools[GPU_POOL].get("include_deferred")).lower() != "true":
        action = f"run `airflow pools set {GPU_POOL} 1 GPU --include-deferred`"
        yield Finding("pool", "warn", f"pool {GPU_POOL} frees its slot while a task defers", action)
    else:
        yield Finding("pool", "ok", f"{GPU_POOL}, {pools[GPU_POOL]['slots']} slots")


def look_at_endpoints(settings: Settings) -> Iterator[Finding]:
    """Do the endpoints that the specs evaluate on answer?"""
    for name in sorted({spec.evaluation.endpoint for spec in _good_specs(settings)}):
        try:
            command = airflow_command()  # where there is one, its connections are what the runs see
            address = read_endpoint(command, name) if command else EnvironmentConnections().endpoint(name)
        except RetuneError as error:
            problem = error.problems[0]
            yield Finding("endpoint", "warn", problem.what, problem.action)
            continue
        shown = f"{name}, {without_passwords(address.url)}"
        silence = _unreachable(f"{address.url}/v1/models", address.api_key)
        if silence:
            yield Finding("endpoint", "fail", f"{shown}: {silence}", "start it: `retune serve`")
        else:
            yield Finding("endpoint", "ok", shown)


def look_at_agents(settings: Settings) -> Iterator[Finding]:
    """Did an agent of each endpoint that the specs deploy to report lately, and does its gateway answer?"""
    for name in sorted({spec.deploy.endpoint for spec in _good_specs(settings)}):
        try:
            with Database(settings.state_url).read() as tx:
                live = replicas.live(tx, name, datetime.now(UTC))
        except RetuneError:
            return  # look_at_state says it
        if not live:
            action = "start `retune serve` on the serving host, with the same RETUNE_STATE_URL"
            yield Finding("agent", "warn", f"no agent of {name} reported lately", action)
        for replica in live:
            what = f"{replica.agent} of {name}"
            silence = replica.gateway_url and _unreachable(f"{replica.gateway_url}/healthz")
            if silence:
                what += f": its gateway {replica.gateway_url} is silent: {silence}"
                yield Finding("agent", "fail", what, "look at its log, and at the way from here to there")
            elif not replica.healthy:
                yield Finding("agent", "fail", f"{what}: vLLM does not answer it", "look at its log")
            else:
                yield Finding("agent", "ok", what)


def look_at_specs(settings: Settings) -> Iterator[Finding]:
    """Can every spec of the project be used?"""
    for path in _specs(settings):
        name = path.relative_to(settings.project)
        try:
            spec = load_spec(path)
        except RetuneError as error:
            yield Finding(
                "spec", "fail", f"{len(error.problems)} problems in {name}", f"run `retune check {name}`"
            )
            continue
        yield Finding("spec", "ok", f"{spec.pipeline} ({name})")


def look_at_interpreters(settings: Settings) -> Iterator[Finding]:
    """Do the trainer's and vLLM's interpreters have what they need?"""
    for part, python, module, option in (
        ("trainer", settings.trainer_python, "trl", "RETUNE_TRAINER_PYTHON"),
        ("vLLM", settings.vllm_python, "vllm", "RETUNE_VLLM_PYTHON"),
    ):
        action = f"run `make setup`, or set {option}"
        program = f"import importlib.util as u, sys; sys.exit(0 if u.find_spec({module!r}) else 3)"
        try:
            code = subprocess.run([python, "-c", program], capture_output=True, timeout=60).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            yield Finding(part, "fail", f"{python}: {error}", action)
            continue
        if code == 0:
            yield Finding(part, "ok", python)
        else:
            yield Finding(part, "fail", f"{python} has no {module}", action)


def look_at_gateway(settings: Settings) -> Iterator[Finding]:
    """Is Envoy there?"""
    from retune.serving.gateway import envoy_binary

    try:
        yield Finding("gateway", "ok", str(envoy_binary()))
    except RetuneError as error:
        yield Finding("gateway", "fail", error.problems[0].what, error.problems[0].action)


def look_at_host(settings: Settings) -> Iterator[Finding]:
    """Is there disk, and are the usual ports free?"""
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    level: Level = "fail" if free < _LEAST_GIB else "warn" if free < _GOOD_GIB else "ok"
    action = "" if level == "ok" else "free some space: adapters, checkpoints and traffic lie there"
    yield Finding("disk", level, f"{free:.0f} GiB free at {place}", action)
    for port, user in _PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        action = f"{user} runs already, or another program must give way" if taken else ""
        yield Finding(
            "port", "warn" if taken else "ok", f"{port} ({user}) is {'taken' if taken else 'free'}", action
        )


LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    look_at_state,
    look_at_mlflow,
    look_at_pool,
    look_at_specs,
    look_at_endpoints,
    look_at_agents,
    look_at_interpreters,
    look_at_gateway,
    look_at_host,
)


def _specs(settings: Settings) -> list[Path]:
    folder = settings.project / "include" / "pipelines"
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def _good_specs(settings: Settings) -> Iterator[PipelineSpec]:
    for path in _specs(settings):
        with suppress(RetuneError):  # look_at_specs says it
            yield load_spec(path)


def _unreachable(url: str, key: str = "") -> str:
    """Return why an address does not answer; empty where it does."""
    import httpx

    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.get(url, headers=headers, timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        return without_passwords(str(error)) or type(error).__name__
    return "" if answer.is_success else f"answered {answer.status_code}"

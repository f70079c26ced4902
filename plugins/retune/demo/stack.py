"""Starts a whole installation below one folder: Airflow, MLflow's server, vLLM, gateway and agent."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from retune.demo.airflow_api import AirflowApi
from retune.demo.processes import Processes
from retune.migrate import migrate_stores
from retune.pools import GPU_POOL
from retune.settings import Settings

ENDPOINT = "vllm_default"
_START_S = 240.0
_AIRFLOW, _MLFLOW, _GATEWAY, _VLLM = 8080, 5000, 8088, 8000


class Stack:
    """One installation with its own project folder, databases, ports and processes.

    Args:
        repository: Holds `dags/`.
        project: The installation's project folder, with `include/` in it.
        tell: Takes progress lines.
    """

    def __init__(self, repository: Path, project: Path, tell: Callable[[str], None]) -> None:
        self._repository = repository
        self._tell = tell
        ports = _ports(tell)
        self.airflow_url, self.mlflow_url, self.gateway_url, self.vllm_url = (
            f"http://127.0.0.1:{port}" for port in ports[:4]
        )
        self._ports = ports
        self.settings = _settings(project, self.mlflow_url)
        self.processes = Processes(self.settings.home / "processes")
        self._home = project / "airflow"
        self.api = AirflowApi(self.airflow_url, self.passwords, self.processes.check)

    @property
    def passwords(self) -> Path:
        """File with the administrator's generated password."""
        return self._home / "simple_auth_manager_passwords.json.generated"

    def start_airflow(self, connections: Mapping[str, str] | None = None) -> None:
        """Migrate the databases and start Airflow and MLflow's server; does not wait for them.

        Args:
            connections: More of Airflow's connections, as environment variables.
        """
        migrate_stores(self.settings, self._tell)
        python = sys.executable
        environment = self.environment
        airflow = environment | dict(connections or {})
        self.processes.start("airflow", [python, "-m", "airflow", "standalone"], airflow)
        store = self.settings.home / "mlflow.db"
        command = [
            *(python, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self._ports[1]), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{store}"),
            *("--default-artifact-root", (self.settings.home / "mlflow").as_uri()),
        ]
        self.processes.start("mlflow", command, environment)

    def start_serving(self, base_model: str) -> None:
        """Start vLLM, the gateway and the agent under Retune's supervisor; does not wait for them."""
        command = [
            *(str(Path(sys.executable).with_name("retune")), "serve", "--endpoint", ENDPOINT),
            *("--base-model", base_model),
            *("--vllm-port", str(self._ports[3]), "--gateway-port", str(self._ports[2])),
        ]
        self.processes.start("serve", command, self.environment)

    def wait_for_airflow(self) -> None:
        """Wait until Airflow is healthy; log in and make the pool."""
        self.api.log_in(_START_S)
        self.api.make_pool(GPU_POOL, 1)

    def wait_for_serving(self) -> None:
        """Wait until vLLM answers and the gateway listens."""
        self.api.wait_until("vLLM's start", lambda: _answers(f"{self.vllm_url}/v1/models"), _START_S)
        self.api.wait_until("the gateway's start", lambda: _answers(f"{self.gateway_url}/healthz"), _START_S)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the processes."""
        ports = self._ports
        endpoint = json.dumps({"conn_type": "generic", "host": self.vllm_url})
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return {
            **kept,
            # `airflow standalone` starts its parts by the name `airflow`.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._repository / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self._repository / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(ports[0]),
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports[4]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[5]),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW_CONN_VLLM_DEFAULT": endpoint,
            "RETUNE_PROJECT": str(self.settings.project),
            "RETUNE_MLFLOW_PAGE": self.settings.mlflow_page,
            "RETUNE_VLLM_PYTHON": self.settings.vllm_python,
            "RETUNE_ENDPOINT_VLLM_DEFAULT": self.vllm_url,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Eight worker processes that only MLflow's own scorers need.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "GX_ANALYTICS_ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
            # Proxies of the environment must not come between parts on one machine.
            "NO_PROXY": "127.0.0.1,localhost",
        }


def _settings(project: Path, mlflow_page: str) -> Settings:
    installed = Settings.load()
    options = {
        "project": str(project),
        "mlflow_page": mlflow_page,
        "vllm_python": installed.vllm_python,
    }
    return Settings.load(options.get)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _ports(tell: Callable[[str], None]) -> list[int]:
    """Return free ports for Airflow, MLflow, gateway, vLLM and Airflow's two log servers."""
    taken: set[int] = set()
    found = []
    for name, wanted in (
        ("Airflow", _AIRFLOW),
        ("MLflow", _MLFLOW),
        ("the gateway", _GATEWAY),
        ("vLLM", _VLLM),
        ("", 0),
        ("", 0),
    ):
        port = _free_port(wanted, taken)
        if wanted and port != wanted:
            tell(f"port {wanted} is occupied: {name} takes {port}")
        taken.add(port)
        found.append(port)
    return found


def _free_port(wanted: int, taken: set[int]) -> int:
    if wanted and wanted not in taken:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
                return wanted
            except OSError:
                pass
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port

"""OpenAI and Vertex AI on this machine: emulators whose jobs really train, and a vLLM that answers."""

from __future__ import annotations

import json
import sys

import httpx

from retune.demo.processes import Processes
from retune.serving.endpoint import vllm_command, vllm_environment
from retune.serving.processes import free_ports
from retune.settings import Settings
from retune.testing.emulators.vertex_accounts import service_account_key

BUCKET = "retune-rows"
PROJECT = "retune"
_LOCAL = "127.0.0.1"
_KEY = "sk-emulated"
# Nobody is paid, and no emulator's price is in the packaged list.
_PRICES = """\
version: 1
backends:
  127.0.0.1:
    models:
      gpt-4.1-mini: {training: {sft: 0}, as_of: 2026-11-26, source: an emulator bills nobody}
  vertex:
    models:
      gemini-2.5-flash: {training: {sft: 0}, as_of: 2026-11-26, source: an emulator bills nobody}
"""


class Services:
    """Both emulators and the vLLM server behind them.

    The server is not the endpoint's: there the agent unloads what nobody of Retune's asked for.

    Args:
        settings: The installation.
        processes: Takes what is started.
        base_model: Stands for all models of both services.
    """

    def __init__(self, settings: Settings, processes: Processes, base_model: str) -> None:
        self._settings = settings
        self._processes = processes
        self._base_model = base_model
        self._ports = free_ports(_LOCAL, {"openai": 0, "vertex": 0, "services-vllm": 0})

    def url(self, part: str) -> str:
        """Return the address of `openai`, `vertex` or `services-vllm`."""
        return f"http://{_LOCAL}:{self._ports[part]}"

    def start(self, environment: dict[str, str]) -> None:
        """Start the emulators; does not wait for them.

        Args:
            environment: Of the processes.
        """
        for kind in ("openai", "vertex"):
            command = [
                *(sys.executable, "-m", "retune.testing.emulators", kind, "--host", _LOCAL),
                *(
                    "--port",
                    str(self._ports[kind]),
                    "--folder",
                    str(self._settings.home / "emulators" / kind),
                ),
                *("--train-base", str(self._settings.resolve(self._base_model))),
                *("--trainer-python", self._settings.trainer_python, "--vllm", self.url("services-vllm")),
            ]
            self._processes.start(kind, command, environment)

    def start_answering(self, environment: dict[str, str]) -> None:
        """Start the vLLM server, once the base model is there; does not wait for it."""
        command = vllm_command(
            self._settings, self._base_model, host=_LOCAL, port=self._ports["services-vllm"]
        )
        self._processes.start("services-vllm", command, environment | vllm_environment())

    def are_ready(self) -> bool:
        """Say whether both emulators answer."""
        return all(_answers(f"{self.url(kind)}/_emulator/ready") for kind in ("openai", "vertex"))

    def is_answering(self) -> bool:
        """Say whether the vLLM server answers."""
        return _answers(f"{self.url('services-vllm')}/v1/models")

    def connect(self) -> dict[str, str]:
        """Make the bucket and the project's prices, and return Airflow's connections as variables."""
        key = service_account_key(self.url("vertex"), PROJECT)
        self._make_bucket(key)
        prices = self._settings.resolve("include/prices.yaml")
        prices.parent.mkdir(parents=True, exist_ok=True)
        prices.write_text(_PRICES)
        openai = {"conn_type": "openai", "host": f"{self.url('openai')}/v1", "password": _KEY}
        extra = {"project": PROJECT, "keyfile_dict": key, "vertex_base_url": self.url("vertex")}
        google = {"conn_type": "google_cloud_platform", "extra": extra}
        return {
            "AIRFLOW_CONN_OPENAI_DEFAULT": json.dumps(openai),
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(google),
        }

    def _make_bucket(self, key: dict[str, str]) -> None:
        from google.cloud import storage
        from google.oauth2.service_account import Credentials

        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials = Credentials.from_service_account_info(key, scopes=scopes)  # type: ignore[no-untyped-call]
        client = storage.Client(PROJECT, credentials, client_options={"api_endpoint": self.url("vertex")})
        client.bucket(BUCKET).create(location="us-central1")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def hosted_recipes(epochs: int) -> list[dict[str, object]]:
    """Return a recipe for each of the services.

    Args:
        epochs: Of both.
    """
    return [
        {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14", "epochs": epochs},
        {
            "backend": "vertex",
            "base_model": "gemini-2.5-flash",
            "epochs": epochs,
            "bucket": f"gs://{BUCKET}",
        },
    ]

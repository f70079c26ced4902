"""A vLLM server on this host: how it is started, and a small client for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from retune.artifacts import digest_of_tree
from retune.errors import ArtifactError, EndpointError
from retune.settings import Settings
from retune.spec import MAX_LORA_RANK
from retune.text.context import served_context

_CPU_FLAGS = ("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "32")


def vllm_command(
    settings: Settings, base_model: str, *, host: str, port: int, max_model_len: int | None = None
) -> list[str]:
    """Return the command line of vLLM's OpenAI server with runtime adapters.

    Args:
        settings: Names the interpreter and the project.
        base_model: As the recipe has it: a Hugging Face id or a folder against the project's root.
            The base model is served under exactly this name.
        host: Address to listen on.
        port: Port to listen on.
        max_model_len: Context in tokens; by default what the model can, at most 4,096.
    """
    folder = settings.resolve(base_model)
    model = str(folder) if folder.is_dir() else base_model
    return [
        *(settings.vllm_python, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, "--served-model-name", base_model),
        *("--host", host, "--port", str(port)),
        *("--max-model-len", str(max_model_len or served_context(folder))),
        # max-cpu-loras defaults to max-loras: the fifth adapter would throw the first out.
        *("--enable-lora", "--max-loras", "4", "--max-cpu-loras", "16"),
        *("--max-lora-rank", str(MAX_LORA_RANK), "--disable-uvicorn-access-log"),
        *(() if has_gpu() else _CPU_FLAGS),
    ]


def base_digest(settings: Settings, base_model: str) -> str:
    """Return the digest of a base model's folder, as recipes have it; empty where it has none."""
    folder = settings.resolve(base_model)
    try:
        return digest_of_tree(folder) if folder.is_dir() else ""
    except ArtifactError:  # such as links: no recipe can name it by its files either
        return ""


def vllm_environment() -> dict[str, str]:
    """Return the environment variables that the server needs besides the caller's own."""
    fixed = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    return fixed if has_gpu() else {"VLLM_CPU_KVCACHE_SPACE": "1", **fixed}


def has_gpu() -> bool:
    """Say whether this host gives us an NVIDIA GPU."""
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


class AdapterRefused(EndpointError):
    """An adapter, or a request, that a server which is up cannot serve."""


def check_adapter(folder: Path) -> None:
    """Raise AdapterRefused where the adapter's own configuration already says that it cannot be served."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = int(config["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"its adapter_config.json cannot be used: {error!r}"
        raise AdapterRefused(what, "train the model again") from error
    if rank > MAX_LORA_RANK:
        raise AdapterRefused(
            f"its rank is {rank}, but this endpoint serves at most {MAX_LORA_RANK}",
            "train with a smaller lora.r",
        )


class Replica:
    """A client of one vLLM server.

    Args:
        url: Base URL without `/v1`.
        timeout_s: Longest wait for an answer.
    """

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def models(self) -> list[str]:
        """Return the names that the server answers to: the base model and the loaded adapters."""
        answer = self._call("GET", "/v1/models")
        return [str(model["id"]) for model in _fields(answer).get("data", ())]

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter; one that is loaded under the name already is left alone.

        Raises:
            AdapterRefused: The server answered and does not take it.
            EndpointError: The server does not answer.
        """
        if name not in self.models():
            body = {"lora_name": name, "lora_path": str(folder)}
            self._call("POST", "/v1/load_lora_adapter", body)

    def unload(self, name: str) -> None:
        """Let an adapter go; nothing happens where it is not loaded."""
        if name in self.models():
            self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def probe(self, name: str, timeout_s: float | None = None) -> httpx.Response:
        """Return the answer to a real one-token completion: `/health` can be 200 while they hang.

        Args:
            name: A model, an adapter's digest or an alias.
            timeout_s: Longest wait, where it differs from the client's.

        Raises:
            AdapterRefused: The server answered with an error.
            EndpointError: The server does not answer.
        """
        body = {"model": name, "prompt": "ping", "max_tokens": 1, "temperature": 0}
        answer = self._call("POST", "/v1/completions", body, timeout_s)
        if not _fields(answer).get("choices"):
            raise AdapterRefused(f"{self.url} answered a completion of {name} without choices")
        return answer

    def tokens_made(self) -> float:
        """Return how many tokens the server has made since its start, from its metrics."""
        lines = self._call("GET", "/metrics").text.splitlines()
        made = [line for line in lines if line.startswith("vllm:generation_tokens_total")]
        return sum(float(line.rsplit(" ", 1)[-1]) for line in made)

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float | None = None
    ) -> httpx.Response:
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s)
        headers = {"x-retune-probe": "1"}  # keeps our own calls out of the captured traffic
        try:
            answer = self._http.request(method, path, json=body, timeout=timeout, headers=headers)
        except httpx.HTTPError as error:
            raise EndpointError(
                f"{self.url}{path} does not answer: {error or type(error).__name__}",
                "see the server's log, or wait until it is up",
            ) from error
        if answer.is_success:
            return answer
        message = f"{self.url}{path} answered {answer.status_code}: {_message(answer)}"
        if answer.status_code in (502, 503, 504):  # a server that is starting or a gateway without one
            raise EndpointError(message, "wait until the server is up")
        raise AdapterRefused(message, "see the server's log")


def _fields(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer's JSON object."""
    try:
        fields = answer.json()
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        what = f"{answer.url} answered something that is no JSON object: {answer.text[:100]!r}"
        raise AdapterRefused(what, "see what listens there")
    return fields


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]

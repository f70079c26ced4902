"""An emulator of vLLM's OpenAI server: adapters at run time, completions, streams, and told failures."""

from __future__ import annotations

import argparse
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from retune.training.parity import FILE, parse


def echo(model: str, prompt: str) -> str:
    """Answer with the prompt."""
    return prompt


class VllmStub:
    """A server on a port of 127.0.0.1 that speaks vLLM's wire format.

    Args:
        base_model: The name of the base model.
        port: The port; 0 takes a free one.
        answer: (model, last user message) -> the answer's text.

    Attributes:
        hang: While True, completions never answer, though `/health` does.
        max_rank: A larger adapter is answered 500.
        recorded: (model, messages) -> text and whether it ended: what a loaded adapter's trainer recorded
            is answered as it was.
        calls: (path, model) of every request with a body, in order.
        on_body: Called with every completion's body.
        mid_stream: Called in a streamed answer before its last words.
    """

    def __init__(
        self, base_model: str = "base", port: int = 0, answer: Callable[[str, str], str] = echo
    ) -> None:
        self.base_model = base_model
        self.answer = answer
        self.hang = False
        self.max_rank = 16
        self.calls: list[tuple[str, str]] = []
        self.on_body: Callable[[dict[str, Any]], None] = lambda body: None
        self.mid_stream: Callable[[], None] = lambda: None
        self.adapters: dict[str, str] = {}
        self.recorded: dict[tuple[str, str], tuple[str, bool]] = {}
        self.tokens = 0
        self.connections: set[socket.socket] = set()
        self.stopped = threading.Event()
        stub = self

        class Answers(_Answers):
            server_of = stub

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self.http = Server(("127.0.0.1", port), Answers)
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL without `/v1`."""
        return f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()
        for connection in tuple(self.connections):  # a dead server does not go on with its open ones
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class _Answers(BaseHTTPRequestHandler):
    server_of: VllmStub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Remember the connection."""
        super().setup()
        self.server_of.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server_of.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer `/v1/models`, `/metrics` and `/health`."""
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": self._models()})
        elif self.path == "/metrics":
            self._text(f'vllm:generation_tokens_total{{engine="0"}} {float(self.server_of.tokens)}\n')
        elif self.path == "/health":
            self._text("")
        else:
            self._error(404, "Not Found", "NotFoundError")

    def do_POST(self) -> None:
        """Answer completions and the adapter calls."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server_of.calls.append((self.path, body.get("model") or body.get("lora_name", "")))
        calls = {
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
            "/v1/chat/completions": self._complete,
            "/v1/completions": self._complete,
        }
        call = calls.get(self.path)
        if call is None:
            self._error(404, "Not Found", "NotFoundError")
        else:
            call(body)

    def _models(self) -> list[dict[str, Any]]:
        base = self.server_of.base_model
        rows = [(base, base, None), *((name, path, base) for name, path in self.server_of.adapters.items())]
        return [
            {"id": name, "object": "model", "created": 0, "owned_by": "vllm", "root": root, "parent": parent}
            for name, root, parent in rows
        ]

    def _load(self, body: dict[str, Any]) -> None:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.server_of.adapters:
            message = f"The lora adapter '{name}' has already been loaded."
            return self._error(400, message, "InvalidUserInput")
        if not (folder / "adapter_config.json").is_file():
            message = f"Loading lora {name} failed: No adapter found for {folder}"
            return self._error(404, message, "NotFoundError")
        if problem := _problem(folder, self.server_of.max_rank):
            return self._error(500, problem, "InternalServerError")
        self.server_of.adapters[name] = str(folder)
        self.server_of.recorded |= _recorded(name, folder)
        return self._text(f"Success: LoRA adapter '{name}' added successfully.")

    def _unload(self, body: dict[str, Any]) -> None:
        name = body["lora_name"]
        if self.server_of.adapters.pop(name, None) is None:
            return self._error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        return self._text(f"Success: LoRA adapter '{name}' removed successfully.")

    def _complete(self, body: dict[str, Any]) -> None:
        stub, model = self.server_of, body["model"]
        stub.on_body(body)
        if stub.hang:
            stub.stopped.wait()
            return
        if model != stub.base_model and model not in stub.adapters:
            return self._error(404, f"The model `{model}` does not exist.", "NotFoundError")
        chat = self.path == "/v1/chat/completions"
        users = [m["content"] for m in body.get("messages", ()) if m["role"] == "user"]
        recorded = stub.recorded.get((model, _key(body.get("messages"))))
        text, ended = recorded or (
            stub.answer(model, users[-1] if users else str(body.get("prompt", ""))),
            True,
        )
        stub.tokens += 1
        if body.get("stream"):
            return self._stream(model, text)
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        kind = "chat.completion" if chat else "text_completion"
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "stub", "object": kind, "created": 0, "model": model, "usage": usage}
        reason = "stop" if ended else "length"
        return self._json(200, {**answer, "choices": [{"index": 0, **choice, "finish_reason": reason}]})

    def _stream(self, model: str, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        words = text.split(" ")
        for number, word in enumerate(words):
            if number == len(words) - 1:
                self.server_of.mid_stream()
            delta = {"content": word if number == 0 else f" {word}"}
            event = {"id": "stub", "object": "chat.completion.chunk", "created": 0, "model": model}
            self._event(json.dumps({**event, "choices": [{"index": 0, "delta": delta}]}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str) -> None:
        chunk = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _text(self, text: str) -> None:
        self._send(200, "text/plain; charset=utf-8", text.encode())

    def _error(self, status: int, message: str, kind: str) -> None:
        self._json(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _recorded(name: str, folder: Path) -> dict[tuple[str, str], tuple[str, bool]]:
    """Return how an adapter answers the questions that its trainer recorded."""
    file = folder / FILE
    probes = parse(file.read_bytes()).probes if file.is_file() else ()
    return {
        (name, _key(probe.messages)): (probe.answer.texts[-1], probe.answer.ended)
        for probe in probes
        if probe.answer
    }


def _key(messages: Any) -> str:
    return json.dumps(messages, sort_keys=True)


def _problem(folder: Path, max_rank: int) -> str:
    """Return why vLLM would refuse the adapter, or nothing."""
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
        weights = (folder / "adapter_model.safetensors").read_bytes()
        json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    except (OSError, ValueError) as error:
        return f"Call to add_lora method failed: {error}"
    if config.get("r", 0) > max_rank:
        return f"LoRA rank {config['r']} is greater than max_lora_rank {max_rank}."
    return ""


def main() -> None:
    """Run the emulator in the foreground; takes vLLM's own options and ignores most."""
    parser = argparse.ArgumentParser(prog="python -m retune.testing.vllm_stub", allow_abbrev=False)
    parser.add_argument("--served-model-name", default="base")
    parser.add_argument("--port", type=int, default=8000)
    given, _ = parser.parse_known_args()
    with VllmStub(given.served_model_name, given.port) as stub:
        stub.stopped.wait()


if __name__ == "__main__":
    main()

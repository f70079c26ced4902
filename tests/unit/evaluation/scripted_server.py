"""A server of chat completions that answers what a test's function says, status, headers and bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Mapping[str, str], bytes]


def completion(text: str | None, finish: str = "stop", **usage: int) -> Reply:
    """A completion as OpenAI's API has it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage or None}).encode()


def refusal(status: int, message: str = "No.", **headers: str) -> Reply:
    """An error as OpenAI's API has it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": {"message": message, "code": None}}).encode()


@dataclass
class Scripted:
    """The server while it runs."""

    url: str
    asked: list[str] = field(default_factory=list)
    """The last user message of every call, in order."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    """Of every call, by names in lower case."""


@contextmanager
def scripted(script: Callable[[str], Reply | None]) -> Iterator[Scripted]:
    """Serve the model `base` until the context ends.

    Args:
        script: Last user message -> what is answered; None closes the connection instead.
    """

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.reply((200, {}, json.dumps({"data": [{"id": "base"}]}).encode()))

        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            question = body["messages"][-1]["content"]
            running.headers.append({name.lower(): value for name, value in self.headers.items()})
            running.asked.append(question)
            reply = script(question)
            if reply is None:
                self.close_connection = True
            else:
                self.reply(reply)

        def reply(self, reply: Reply) -> None:
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: clients hang up."""

    with Server(("127.0.0.1", 0), Answering) as server:
        running = Scripted(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()

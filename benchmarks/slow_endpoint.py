"""An endpoint that answers every chat completion after the same time, and next to nothing else.

    python -m benchmarks.slow_endpoint PORT DELAY_S

It reads only as much of HTTP as clients of OpenAI's API send, so that on a machine of two cores the
client has one for itself. `GET /seen` says what came since it was asked the last time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

MODEL = "base"
ANSWER = "billing"
HOST = "127.0.0.1"


def _response(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


_COMPLETION = _response(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22},
    }
)
_MODELS = _response(
    {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": ""}]}
)


class _Seen:
    """What came since the last look."""

    def __init__(self) -> None:
        self.answered = self.inside = self.most = 0
        self.first = self.last = 0.0

    def told(self) -> dict[str, Any]:
        return {"answered": self.answered, "most": self.most, "seconds": self.last - self.first}


class _Connection(asyncio.Protocol):
    seen = _Seen()
    delay_s = 1.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._bytes = b""

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            head = self._bytes[:end].lower()
            _, named, rest = head.partition(b"content-length:")
            whole = end + 4 + (int(rest.partition(b"\r\n")[0]) if named else 0)
            if len(self._bytes) < whole:
                return
            self._bytes = self._bytes[whole:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        seen = _Connection.seen
        if head.startswith(b"post"):
            seen.first = seen.first or time.perf_counter()
            seen.inside += 1
            seen.most = max(seen.most, seen.inside)
            asyncio.get_running_loop().call_later(self.delay_s, self._complete)
        elif head.startswith(b"get /seen"):
            self._transport.write(_response(seen.told()))
            _Connection.seen = _Seen()
        else:
            self._transport.write(_MODELS)

    def _complete(self) -> None:
        seen = _Connection.seen
        seen.inside -= 1
        seen.answered += 1
        seen.last = time.perf_counter()
        self._transport.write(_COMPLETION)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, HOST, port, backlog=4096)
    await server.serve_forever()


def seen(url: str) -> dict[str, Any]:
    """Return what came since the last look: answers, most at once, seconds from the first to the last."""
    found: dict[str, Any] = httpx.get(f"{url}/seen").json()
    return found


@contextmanager
def running(delay_s: float) -> Iterator[str]:
    """Run it in a process of its own; yields its URL without `/v1`."""
    import subprocess

    from retune.serving.processes import end_group, free_ports
    from tests.unit.serving.builders import until

    port = free_ports(HOST, {"endpoint": 0})["endpoint"]
    url = f"http://{HOST}:{port}"
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.slow_endpoint", str(port), str(delay_s)], start_new_session=True
    )

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/v1/models").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(answers, "the endpoint answers")
        yield url
    finally:
        end_group(child.pid, child)


if __name__ == "__main__":
    _Connection.delay_s = float(sys.argv[2])
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(int(sys.argv[1])))
    else:
        uvloop.run(_serve(int(sys.argv[1])))

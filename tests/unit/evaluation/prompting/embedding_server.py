"""A server of `/v1/embeddings` (as OpenAI and vLLM have it), and ways in which it fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from retune.evaluation.prompting.bm25 import words

MEANINGS = ("parcel", "invoice", "password", "broken")
SAME = {"package": "parcel", "box": "parcel", "bill": "invoice", "login": "password", "defect": "broken"}


class EmbeddingServer:
    """Embeds a text as what it means: synonyms have the same place.

    Attributes:
        texts: How often each text was embedded.
        batches: Sizes of the calls.
        fault: `""`, `status`, `html`, `few`, `zero` or `wide`.
    """

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.batches: list[int] = []
        self.keys: set[str] = set()
        self.fault = ""
        outer = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, kind, data = outer.answer(self.path, body, self.headers["authorization"])
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path: str, body: dict[str, Any], authorization: str) -> tuple[int, str, bytes]:
        """Answer a call, backwards: clients must go by the index."""
        self.keys.add(authorization)
        if path != "/v1/embeddings" or self.fault == "status":
            error = {"message": f"no model {body.get('model')!r} for key {authorization}", "code": 404}
            return 404, "application/json", json.dumps({"error": error}).encode()
        if self.fault == "html":
            return 200, "text/html", b"<html>a proxy</html>"
        self.texts.update(body["input"])
        self.batches.append(len(body["input"]))
        found = [
            {"object": "embedding", "index": index, "embedding": self._vector(text)}
            for index, text in enumerate(body["input"])
        ][::-1]
        data = found[1:] if self.fault == "few" else found
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        shown = {"object": "list", "model": body["model"], "data": data, "usage": usage}
        return 200, "application/json", json.dumps(shown).encode()

    def _vector(self, text: str) -> list[float]:
        if self.fault == "zero":
            return [0.0] * (len(MEANINGS) + 1)
        said = [SAME.get(word, word) for word in words(text)]
        wide = [1.0] if self.fault == "wide" else []
        return [*(3.0 * said.count(meaning) for meaning in MEANINGS), 0.1, *wide]

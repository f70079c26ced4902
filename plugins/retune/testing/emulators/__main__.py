"""`python -m retune.testing.emulators openai --folder DIR --port 8400`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from retune.testing.emulators.serving import KINDS, serve


def main() -> None:
    """Run an emulator in the foreground; an option that is not given stays as the folder has it."""
    parser = argparse.ArgumentParser(prog="python -m retune.testing.emulators", allow_abbrev=False)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--folder", type=Path, required=True, help="what it remembers lies here")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--phase-s", type=json.loads, help="seconds in each phase, or JSON: phase -> seconds")
    parser.add_argument("--list-lag-s", type=float, help="seconds until a list shows a new job")
    parser.add_argument("--api-key", help="the one key that is accepted; every key is by default")
    parser.add_argument("--contract", help="the provider's own description, to hold answers against")
    parser.add_argument("--train-base", help="folder of a small base model: jobs then really train")
    parser.add_argument("--trainer-python", help="the interpreter that has the trainer's libraries")
    parser.add_argument("--vllm", help="base URL of a vLLM server that answers for the models")
    given = vars(parser.parse_args())
    kind, folder, port, host = (given.pop(name) for name in ("kind", "folder", "port", "host"))
    from_environment = os.environ.get(f"RETUNE_{kind.upper()}_CONTRACT")
    if given["contract"] is None and from_environment:
        given["contract"] = from_environment
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    serve(kind, folder, port, options, host)


if __name__ == "__main__":
    main()

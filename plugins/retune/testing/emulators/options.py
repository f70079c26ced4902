"""How an emulator behaves when nothing goes wrong: `options.json` in its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from retune.artifacts import write_atomically
from retune.errors import SetupError

FILE = "options.json"


@dataclass(frozen=True)
class Options:
    """What `options.json` holds; it is read again at each request, so it may change while one runs."""

    phase_s: float | dict[str, float] = 0.2
    """Seconds that a job stays in each phase, or phase -> seconds, where a missing one has 0.2.

    The phases are `validating`, `queued` and `running`.
    """
    list_lag_s: float = 0.0
    """A new job shows up in lists only this many seconds later; by its ID it can be read at once."""
    file_s: float = 0.0
    """Seconds that an uploaded file is being processed before a job may use it."""
    api_key_digest: str = ""
    """SHA-256 of the one key that is accepted, in hex; empty accepts every key."""
    models: dict[str, str | None] = field(default_factory=dict)
    """Base model -> shutdown date (YYYY-MM-DD) or null, besides the emulator's own or instead of them."""
    contract: str = ""
    """The provider's own description, which every answer is then held against; read at the start."""
    train_base: str = ""
    """Folder of a small base model that stands for all of the provider's: jobs then really train."""
    trainer_python: str = ""
    """Interpreter that has the trainer's libraries; empty takes the emulator's own."""
    train_with: dict[str, Any] = field(default_factory=dict)
    """Hyperparameters of `retune.training` in place of `training.DEFAULTS`."""
    vllm: str = ""
    """Base URL, without `/v1`, of a vLLM server with that base model: it then answers completions."""

    def seconds(self, phase: str) -> float:
        """Return how long a job stays in a phase; for ever where a real training ends it."""
        if self.train_base and phase in ("queued", "running"):
            return math.inf
        given = self.phase_s
        return given.get(phase, 0.2) if isinstance(given, dict) else given


class OptionsFile:
    """The options of a folder, as they are now.

    Args:
        folder: The emulator's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = WatchedJson(folder / FILE)
        self._read: Any = None
        self._options = Options()

    def now(self) -> Options:
        """Return the options.

        Raises:
            SetupError: The file cannot be read.
        """
        data = self._file.read({})
        if data is not self._read:
            self._options, self._read = parse(data), data
        return self._options


def parse(data: Mapping[str, Any]) -> Options:
    """Make options of JSON; raises SetupError where an option is unknown."""
    known = {one.name for one in fields(Options)}
    if unknown := sorted(set(data) - known):
        raise SetupError(f"unknown options: {', '.join(unknown)}", f"known are {', '.join(sorted(known))}")
    return Options(**data)


def write(folder: Path, changes: Mapping[str, Any]) -> Options:
    """Change some of a folder's options; the others stay as they are.

    Args:
        folder: The emulator's.
        changes: Option -> value. `api_key` names the one key that is accepted: only its digest is kept.

    Raises:
        SetupError: An option is unknown.
    """
    changes = dict(changes)
    if key := changes.pop("api_key", ""):
        changes["api_key_digest"] = sha256(key.encode()).hexdigest()
    path = folder / FILE
    before = parse(json.loads(path.read_bytes())) if path.exists() else Options()
    parse(changes)
    after = replace(before, **changes)
    write_atomically(path, json.dumps(asdict(after), indent=1).encode())
    return after


class WatchedJson:
    """A JSON file that is read again when it has changed.

    Args:
        path: The file; whoever changes it replaces it as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._data: Any = None

    def read(self, default: Any) -> Any:
        """Return what the file holds, or `default` where there is none; the same object until it changes.

        Raises:
            SetupError: The file holds no JSON.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen = None
            return default
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            try:
                self._data = json.loads(self._path.read_bytes())
            except ValueError as error:
                raise SetupError(f"{self._path} is no JSON: {error}", "mend it, or remove it") from error
            self._seen = seen
        return self._data

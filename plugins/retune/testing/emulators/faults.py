"""Faults by script: `faults.json` in an emulator's folder, read again at each request.

A list of rules such as

    {"on": "POST /v1/fine_tuning/jobs", "skip": 0, "times": 1, "do": "lose_answer"}

`on` is a method and a path: the route's template, or a pattern with `*` (which also stands for slashes).
A rule lets the first `skip` requests pass (default 0) and then fires `times` times (default 1; null: for
ever). Of several rules the first that fires counts. What has fired is remembered over restarts; a rule is
known by its `id`, or where it has none by what it says.

| do | the emulator |
|---|---|
| `lose_answer` | acts, then drops the connection |
| `late_commit` | drops the connection; what was asked for exists `after_s` seconds later (creations only) |
| `refuse` | answers with an error of the provider's shape: one of its own by name as `refusal` (see the emulator), or `status` with `message`, `code`, `type`, `param`; `retry_after` in seconds; with `act` true it acts first |
| `error` | the same with 500 |
| `hang` | never answers |
| `slow` | waits `after_s` seconds, then goes on |
| `half_upload` | keeps only the first half of the bytes that it was sent |
| `unknown_status` | says `status` (default `on_hold`) as the job's status, this once |
| `fail_job` | lets the created job fail in `phase` (`validating`, `queued`; default `running`) with `error` {code, message, param} |
| `bad_file` | finds fault with the created job's file, or with the uploaded one, in the provider's words: `message`, `line` |
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from retune.artifacts import write_atomically
from retune.errors import Problem, SetupError
from retune.testing.emulators.options import WatchedJson
from retune.testing.emulators.store import Store

FILE = "faults.json"
PHASES = ("validating", "queued", "running")
KINDS = frozenset(
    {
        "lose_answer",
        "late_commit",
        "refuse",
        "error",
        "hang",
        "slow",
        "half_upload",
        "unknown_status",
        "fail_job",
        "bad_file",
    }
)


@dataclass(frozen=True)
class Rule:
    """One rule; see the module's table."""

    on: str
    do: str
    skip: int = 0
    times: int | None = 1
    id: str = ""
    after_s: float = 0.0
    status: int | str | None = None
    refusal: str = ""
    message: str = ""
    code: str | None = None
    type: str = ""
    param: str | None = None
    retry_after: float | None = None
    act: bool = False
    phase: str = "running"
    line: int | None = None
    error: dict[str, Any] = field(default_factory=dict)

    def matches(self, method: str, path: str, template: str) -> bool:
        """Say whether the rule is about a request."""
        return self.on == f"{method} {template}" or fnmatchcase(f"{method} {path}", self.on)


class Faults:
    """The rules of a folder, and what has fired.

    Args:
        store: Remembers what has fired.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = WatchedJson(store.folder / FILE)
        self._read: Any = None
        self._rules: list[tuple[str, Rule]] = []

    def next(self, method: str, path: str, template: str) -> Rule | None:
        """Return the rule that fires at a request, and count it.

        Args:
            method: Such as `POST`.
            path: As asked for.
            template: The route's, with names in braces.

        Raises:
            SetupError: The file holds something else than rules.
        """
        data = self._file.read(())
        if data is not self._read:
            self._rules, self._read = _named(parse(data)), data
        for name, rule in self._rules:
            if not rule.matches(method, path, template):
                continue
            seen, fired = self._store.fired(name)
            if rule.times is not None and fired >= rule.times:
                continue
            fires = seen >= rule.skip
            self._store.set_fired(name, seen + 1, fired + fires)
            if fires:
                return rule
        return None


def parse(data: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Make rules of JSON.

    Raises:
        SetupError: With every rule that cannot be used.
    """
    known = {one.name for one in fields(Rule)}
    problems, rules = [], []
    for number, given in enumerate(data, 1):
        if unknown := sorted(set(given) - known):
            what = f"rule {number} has unknown fields: {', '.join(unknown)}"
            problems.append(Problem(what, f"known are {', '.join(sorted(known))}", FILE))
        elif missing := sorted({"on", "do"} - set(given)):
            problems.append(Problem(f"rule {number} lacks {', '.join(missing)}", "add it", FILE))
        elif given["do"] not in KINDS:
            what = f"rule {number} does {given['do']!r}"
            problems.append(Problem(what, f"known are {', '.join(sorted(KINDS))}", FILE))
        elif given.get("phase", "running") not in PHASES:
            what = f"rule {number} names phase {given['phase']!r}"
            problems.append(Problem(what, f"known are {', '.join(PHASES)}", FILE))
        else:
            rules.append(Rule(**given))
    if problems:
        raise SetupError(problems)
    return rules


def write(folder: Path, rules: Iterable[Mapping[str, Any]]) -> None:
    """Replace a folder's rules, also while its emulator runs; each counts anew.

    Raises:
        SetupError: With every rule that cannot be used.
    """
    named = [{"id": uuid.uuid4().hex, **rule} for rule in rules]
    parse(named)
    write_atomically(folder / FILE, json.dumps(named, indent=1).encode())


def _named(rules: list[Rule]) -> list[tuple[str, Rule]]:
    """Give each rule a name to count it by: equal ones that stand twice count apart."""
    twins: Counter[str] = Counter()
    named = []
    for rule in rules:
        digest = rule.id or hashlib.sha256(repr(rule).encode()).hexdigest()
        twins[digest] += 1
        named.append((f"{digest}/{twins[digest]}", rule))
    return named

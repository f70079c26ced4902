"""Errors that say what failed, the value seen and the next action."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        what: What is wrong, with the value seen.
        action: What the reader should do next.
        file: The file that holds the problem, if any.
        line: Its 1-based line in that file, if known.
    """

    what: str
    action: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.what}" + (f" -> {self.action}" if self.action else "")


class RetuneError(Exception):
    """Base of all Retune errors; lists every problem of one input together.

    Args:
        problems: One message, or all the problems that were found.
        action: What to do next, where `problems` is a plain message.
    """

    def __init__(self, problems: str | Iterable[Problem], action: str = "") -> None:
        if isinstance(problems, str):
            self.problems = [Problem(problems, action)]
        else:
            self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[RetuneError], tuple[list[Problem]]]:
        return type(self), (self.problems,)


class SpecError(RetuneError):
    """A pipeline's YAML cannot be used."""


class DataError(RetuneError):
    """Source rows cannot be read, or they are not good enough to train on."""


class ArtifactError(RetuneError):
    """An artifact is missing, damaged or cannot be stored."""


class GoneError(ArtifactError):
    """An artifact was removed on purpose, such as a page that showed a forgotten person's rows."""


class StateError(RetuneError):
    """Retune's database cannot be read, or holds something else than expected."""


class ConflictError(StateError):
    """A compare-and-swap lost: somebody else changed the row first."""


class BackendError(RetuneError):
    """A fine-tuning job cannot be submitted, read or fetched.

    Attributes:
        may_pass: Whether the same request may succeed later, with nothing mended.
    """

    may_pass = False


class EndpointError(RetuneError):
    """A serving endpoint is unreachable or does not serve what was asked for."""


class SetupError(RetuneError):
    """This installation lacks something that a run needs."""

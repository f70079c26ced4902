"""Rules of form that an answer must keep."""

from __future__ import annotations

import re
from dataclasses import dataclass

from retune.errors import Problem, SpecError
from retune.spec.evaluation import Rules


@dataclass(frozen=True)
class AnswerRules:
    """A spec's rules, ready to be held against answers."""

    matches: tuple[re.Pattern[str], ...]
    lacks: tuple[re.Pattern[str], ...]
    least_characters: int
    most_characters: int | None

    def broken(self, answer: str) -> list[str]:
        """Return each rule that an answer breaks, in words; outer white space does not count.

        Args:
            answer: As it came.
        """
        text = answer.strip()
        found = [f"lacks {rule.pattern!r}" for rule in self.matches if not rule.search(text)]
        found += [f"holds {rule.pattern!r}" for rule in self.lacks if rule.search(text)]
        if len(text) < self.least_characters:
            found.append(f"{len(text)} characters, at least {self.least_characters} are wanted")
        if self.most_characters is not None and len(text) > self.most_characters:
            found.append(f"{len(text)} characters, at most {self.most_characters} are allowed")
        return found


def read_rules(rules: Rules, named: str = "evaluation.rules") -> AnswerRules:
    """Return rules ready to be held against answers.

    Args:
        rules: As the spec has them.
        named: Where they stand, for errors.

    Raises:
        SpecError: Lists every regular expression that is none, and lengths that no text can have.
    """
    problems: list[Problem] = []
    compiled: dict[str, list[re.Pattern[str]]] = {"matches": [], "lacks": []}
    for key, found in compiled.items():
        for number, pattern in enumerate(getattr(rules, key)):
            try:
                found.append(re.compile(pattern))
            except re.error as error:
                problems.append(
                    Problem(
                        f"{named}.{key}[{number}]: {pattern!r} is no regular expression: {error}",
                        "mend it; a backslash goes before a character that is meant as it is",
                    )
                )
    most = rules.most_characters
    if most is not None and most < rules.least_characters:
        problems.append(
            Problem(
                f"{named}: least_characters {rules.least_characters} is more than most_characters {most}",
                "no answer can keep both; change one",
            )
        )
    if problems:
        raise SpecError(problems)
    return AnswerRules(tuple(compiled["matches"]), tuple(compiled["lacks"]), rules.least_characters, most)

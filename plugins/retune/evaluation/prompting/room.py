"""How much a prompt may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.records.evaluation import ENDPOINT
from retune.spec import LocalRecipe, PipelineSpec, RecipeSpec
from retune.text.context import served_context
from retune.text.conversations import Conversation, Message
from retune.text.tokens import TokenCounter, counter_for

_OPENED = 8
"""Tokens with which chat templates open the answer; ChatML takes three."""


@dataclass(frozen=True)
class Room:
    """The tokens that a prompt may have, and who counts them.

    Attributes:
        counter: Counts, or where the base model's tokenizer is not here, reckons four bytes a token.
        window: Tokens of prompt and answer together.
        answer: Tokens that are kept for the answer.
    """

    counter: TokenCounter
    window: int
    answer: int

    @property
    def said(self) -> str:
        """The window and who counts, for people."""
        return f"a window of {self.window:,} tokens (counted by {self.counter.name})"

    def most(self, count: int, prompt_with: Callable[[int], Sequence[Message]]) -> int:
        """Return how many things fit into a prompt, at most `count`.

        Args:
            count: Things at hand.
            prompt_with: Returns the prompt with the first so many of them; with more it is longer.
        """
        if self._fits(prompt_with(count)):
            return count
        fits, over = 0, count
        while over - fits > 1:
            middle = (fits + over) // 2
            if self._fits(prompt_with(middle)):
                fits = middle
            else:
                over = middle
        return fits

    def _fits(self, messages: Sequence[Message]) -> bool:
        [tokens] = self.counter.conversations([Conversation("", tuple(messages))])
        return tokens + _OPENED + self.answer <= self.window


def room_for(backend: str, spec: PipelineSpec, project: Path) -> Room:
    """Return the room of prompts for models of a backend.

    That is what an endpoint of one's own serves, not what its recipe trains on: a baseline that may show
    less than it could would be too easy to beat. Of a hosted model it is the recipe's window.

    Args:
        backend: A contender's: `endpoint`, or who hosts the model; one without a recipe takes all recipes'.
        spec: The frozen spec.
        project: Where local base models lie.
    """
    recipes = [recipe for recipe in spec.candidates if _served_by(recipe) == backend]
    tightest = min(recipes or spec.candidates, key=lambda recipe: _window(recipe, project))
    counter = counter_for(tightest.base_model, project)
    return Room(counter, _window(tightest, project), spec.evaluation.max_tokens)


def _window(recipe: RecipeSpec, project: Path) -> int:
    here = isinstance(recipe, LocalRecipe)
    return served_context(project / recipe.base_model) if here else recipe.window


def _served_by(recipe: RecipeSpec) -> str:
    return ENDPOINT if isinstance(recipe, LocalRecipe) else recipe.backend

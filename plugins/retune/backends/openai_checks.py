"""What OpenAI would refuse or fail later, found before anything is uploaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Any

from retune.artifacts import Artifacts
from retune.backends.base import Order, TransientError
from retune.backends.openai_client import Account, every
from retune.backends.openai_files import FORMATS, Side, rows_of
from retune.backends.openai_refusals import CLOSING, INSTEAD, LAST_DAY, NotThereError, asked
from retune.errors import BackendError, Problem
from retune.settings import Settings
from retune.text.conversations import Conversation
from retune.text.formats.limits import check
from retune.text.formats.openai_rows import most_tokens
from retune.text.tokens import counter_for

SOON = timedelta(days=30)
"""A base model that is shut down within it, and its tuned ones with it, is warned of."""
_SIDES: tuple[Side, ...] = ("train", "validation")
_log = logging.getLogger(__name__)


def check_order(
    order: Order, account: Account, artifacts: Artifacts, settings: Settings, today: date
) -> None:
    """Refuse an order that the service would refuse.

    Args:
        order: The job.
        account: Where it is to run.
        artifacts: Where its rows lie.
        settings: Where tokenizers are looked for.
        today: The day, UTC.

    Raises:
        TransientError: The service cannot be asked now, and nothing else is wrong.
        BackendError: Lists all that is wrong.
    """
    problems = [*_of_the_rows(order, artifacts, settings), *_of_the_recipe(order)]
    if account.service.is_openai and today > LAST_DAY:
        what = f"OpenAI takes no fine-tuning jobs any more, and today is {today}: {CLOSING}"
        raise BackendError([Problem(what, INSTEAD), *problems])
    busy: list[Problem] = []
    for asks in (_of_the_model, _of_the_grader):
        try:
            problems += asks(order, account, today)
        except TransientError as error:
            busy += error.problems
        except BackendError as error:
            problems += error.problems
    if problems:
        raise BackendError(dict.fromkeys(problems))
    if busy:
        raise TransientError(busy)


def _of_the_rows(order: Order, artifacts: Artifacts, settings: Settings) -> Iterator[Problem]:
    recipe = order.recipe
    wanted = FORMATS.get(recipe.method)
    if wanted is None:
        yield Problem(f"method {recipe.method!r} is not OpenAI's", f"use one of {', '.join(FORMATS)}")
        return
    for side in _SIDES:
        yield from check(
            rows_of(order, side, artifacts),
            wanted,
            side,
            validation=side == "validation",
            tokens=_exact_counter(recipe.base_model, settings),
            most_tokens=most_tokens(recipe.base_model),
        )


def _exact_counter(base_model: str, settings: Settings) -> Callable[[Conversation], int] | None:
    """Return what counts a row's tokens; None where that is an estimate, by which no row is refused."""
    counter = counter_for(base_model, settings.project)
    return (lambda row: counter.conversations([row])[0]) if counter.exact else None


def _of_the_recipe(order: Order) -> Iterator[Problem]:
    recipe = order.recipe
    if recipe.method == "reinforcement" and recipe.hyperparameters.get("checkpoint") == "best":
        what = "checkpoint: best goes by validation loss, which reinforcement does not tell"
        yield Problem(what, "use checkpoint: last")


def _of_the_model(order: Order, account: Account, today: date) -> list[Problem]:
    name = order.recipe.base_model
    try:
        known = {
            model.id: model for model in every(account.service, lambda _: account.client.models.list(), 1)
        }
    except NotThereError:  # a service that does not list its models
        return []
    try:
        model = known.get(name) or asked(account.service, lambda: account.client.models.retrieve(name))
    except NotThereError as error:
        close = get_close_matches(name, known, cutoff=0.5)
        near = f", such as {', '.join(close)}" if close else ""
        said = error.problems[0].what
        return [Problem(f"base model {name!r} is retired or unknown: {said}", f"name another{near}")]
    end = _shutdown_date(model)
    if end is None:
        return []
    if end <= today:
        return [Problem(f"base model {name!r} was shut down on {end}", "name another base model")]
    if end - today <= SOON:
        _log.warning(
            "Base model %s is shut down on %s, in %s days, and what is tuned from it too: name another.",
            name, end, (end - today).days,
        )  # fmt: skip
    return []


def _shutdown_date(model: Any) -> date | None:
    try:
        return date.fromisoformat(getattr(model, "shutdown_date", None) or "")
    except (ValueError, TypeError):
        return None


def _of_the_grader(order: Order, account: Account, today: date) -> list[Problem]:
    grader: Mapping[str, Any] = order.recipe.hyperparameters.get("grader") or {}
    if not grader:
        return []
    graders = account.client.fine_tuning.alpha.graders
    try:
        asked(account.service, lambda: graders.validate(grader=grader))  # type: ignore[arg-type]
    except NotThereError:  # a service that checks the grader with the job
        return []
    except TransientError:
        raise
    except BackendError as error:
        return [Problem(f"grader: {found.what}", "mend the recipe's grader") for found in error.problems]
    return []

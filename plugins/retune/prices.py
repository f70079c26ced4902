"""What training and answering cost: a dated list of prices, and the project's own in front of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from retune.documents import read_document
from retune.settings import Settings
from retune.spec.budget import Usd
from retune.spec.parts import Part

OWN_PRICES = "include/prices.yaml"
"""The project's own prices, against its root."""
FRESH_DAYS = 90
"""A price that was read longer ago may have changed."""
_DEFAULT = "default"
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_SECONDS = 3600


class Read(Part):
    """Where a price comes from."""

    as_of: date
    """When it was read."""
    source: str = Field(min_length=1)
    """Where it was read: a page's address, or who says so."""
    note: str = ""
    """What it holds for: a region, a size."""

    def warning(self, today: date) -> str:
        """Return a sentence where the price is too old to trust, else nothing."""
        age = (today - self.as_of).days
        if age <= FRESH_DAYS:
            return ""
        return (
            f"The price was read {age} days ago, on {self.as_of}: look at {self.source} and put today's into"
            f" {OWN_PRICES}."
        )


def dated(basis: str, price: Read) -> str:
    """Return what an estimate rests on, with a warning where its price is old."""
    warning = price.warning(datetime.now(UTC).date())
    return f"{basis}. {warning}" if warning else basis


class TokenPrice(Read):
    """What training on tokens costs; each epoch reads them all again."""

    usd_per_million: Usd

    def cost(self, tokens: int) -> float:
        """Return the US dollars for so many training tokens, all epochs together."""
        return tokens * self.usd_per_million / 1e6


class HourPrice(Read):
    """What an hour of training costs."""

    usd_per_hour: Usd

    def warning(self, today: date) -> str:
        """Return a sentence where the price is too old to trust; what is one's own costs nothing for good."""
        return super().warning(today) if self.usd_per_hour else ""

    def cost(self, seconds: float) -> float:
        """Return the US dollars for so many seconds."""
        return seconds / _SECONDS * self.usd_per_hour


class AnswerPrice(Read):
    """What asking a model costs."""

    usd_per_million_input: Usd
    usd_per_million_output: Usd

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the US dollars for so many tokens asked and answered."""
        return (input_tokens * self.usd_per_million_input + output_tokens * self.usd_per_million_output) / 1e6


class Answers(Part):
    """US dollars for a million tokens that a model reads and writes."""

    input: Usd
    output: Usd


class ModelPrices(Read):
    """All that is known of one model's prices."""

    training: dict[str, Usd] = {}
    """Method -> US dollars for a million training tokens."""
    training_hour: dict[str, Usd] = {}
    """Method -> US dollars for an hour of training."""
    inference: Answers | None = None
    tuned_inference: Answers | None = None
    """What its fine-tuned models cost, where that is another price."""


class HourEntry(Read):
    """What an hour of a machine costs."""

    usd_per_hour: Usd | None
    """None: not known."""


class BackendPrices(Part):
    """The prices of one backend."""

    models: dict[str, ModelPrices] = {}
    """Base model -> its prices. A name without a date stands for its dated snapshots too."""
    hours: dict[str, HourEntry] = {}
    """A recipe's queue, or `default` -> what an hour there costs."""


class PriceList(Part):
    """A price file."""

    version: Literal[1]
    backends: dict[str, BackendPrices] = {}


class Prices:
    """All prices that are known here.

    Args:
        backends: Backend -> its prices.
    """

    def __init__(self, backends: Mapping[str, BackendPrices]) -> None:
        self._backends = dict(backends)

    def training(self, backend: str, base_model: str, method: str) -> TokenPrice | None:
        """Return what training on tokens costs; None where nobody said, or where it goes by the hour."""
        found = self._model(backend, base_model)
        usd = found.training.get(method) if found else None
        if found is None or usd is None:
            return None
        return TokenPrice(usd_per_million=usd, **_read(found))

    def training_hour(self, backend: str, base_model: str, method: str) -> HourPrice | None:
        """Return what an hour of training a model costs; None where nobody said, or tokens are billed."""
        found = self._model(backend, base_model)
        usd = found.training_hour.get(method) if found else None
        if found is None or usd is None:
            return None
        return HourPrice(usd_per_hour=usd, **_read(found))

    def hour(self, backend: str, queue: str = "") -> HourPrice | None:
        """Return what an hour of a backend's machines costs; None where nobody said.

        Args:
            backend: As a recipe names it.
            queue: The recipe's; one without a price of its own costs what the others do.
        """
        hours = self._of(backend).hours
        found = hours.get(queue) or hours.get(_DEFAULT)
        if found is None or found.usd_per_hour is None:
            return None
        return HourPrice(usd_per_hour=found.usd_per_hour, **_read(found))

    def inference(self, backend: str, model: str) -> AnswerPrice | None:
        """Return what asking a model costs; None where nobody said.

        Args:
            backend: Whose model it is.
            model: A base model, or a fine-tuned one whose name says its base as OpenAI's do
                (`ft:<base model>:...`). For another fine-tuned model ask for its base model.
        """
        parts = model.split(":")
        tuned = parts[0] == "ft" and len(parts) > 1
        found = self._model(backend, parts[1] if tuned else model)
        if found is None:
            return None
        answers = found.tuned_inference if tuned else found.inference
        if answers is None:
            return None
        return AnswerPrice(
            usd_per_million_input=answers.input, usd_per_million_output=answers.output, **_read(found)
        )

    def _of(self, backend: str) -> BackendPrices:
        return self._backends.get(backend, BackendPrices())

    def _model(self, backend: str, name: str) -> ModelPrices | None:
        models = self._of(backend).models
        return models.get(name) or models.get(_SNAPSHOT.sub("", name))


def _read(found: Read) -> dict[str, Any]:
    return {"as_of": found.as_of, "source": found.source, "note": found.note}


@cache
def _packaged() -> PriceList:
    return read_document(Path(__file__).with_name("prices.yaml"), PriceList)


def load_prices(settings: Settings) -> Prices:
    """Return the packaged prices with the project's own in front.

    An entry of the project's file replaces the packaged one of the same model or queue, whole: a price
    is never mixed of two dates.

    Raises:
        SpecError: Lists all that is wrong with the project's file, by line.
    """
    found = _packaged().backends
    own = settings.resolve(OWN_PRICES)
    if not own.exists():
        return Prices(found)
    merged = dict(found)
    for name, prices in read_document(own, PriceList).backends.items():
        under = found.get(name, BackendPrices())
        merged[name] = BackendPrices(
            models={**under.models, **prices.models}, hours={**under.hours, **prices.hours}
        )
    return Prices(merged)

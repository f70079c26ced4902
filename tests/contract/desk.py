"""What the desks before an emulated service share: one account, orders by number, rows of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from retune.artifacts import digest_of
from retune.backends.attempts import job_key
from retune.backends.base import Installation, Order
from retune.records import Dataset, Recipe
from retune.settings import EnvironmentConnections, GoogleAccount, OpenAIAccount
from retune.spec.recipes import OpenAIRecipe, VertexRecipe
from retune.testing.emulators.process import Running
from tests.tuning import Bench, make_bench, make_rows, write_rows


class OneAccount(EnvironmentConnections):
    """Knows one account of one service, by every name."""

    def __init__(self, account: OpenAIAccount | GoogleAccount) -> None:
        self._account = account

    def openai(self, name: str) -> OpenAIAccount:
        assert isinstance(self._account, OpenAIAccount)
        return self._account

    def google(self, name: str) -> GoogleAccount:
        assert isinstance(self._account, GoogleAccount)
        return self._account


@dataclass(frozen=True)
class HostedDesk:
    """An installation whose account at a hosted service is an emulator."""

    bench: Bench
    emulator: Running
    numbers: Iterator[int] = field(default_factory=count)

    def installation_of(self, account: OpenAIAccount | GoogleAccount) -> Installation:
        """The installation, with this account by every name."""
        return replace(self.bench, connections=OneAccount(account)).installation

    def order_of(
        self,
        spec: OpenAIRecipe | VertexRecipe,
        dataset: Dataset | None = None,
        account: str = "",
        seed: int | None = None,
    ) -> Order:
        """An order that is like no other, unless it says its seed."""
        recipe = Recipe(
            spec_digest=digest_of(b"spec"),
            index=0,
            backend=spec.backend,
            base_model=spec.base_model,
            base_digest=f"{spec.backend}:{spec.base_model}",
            chat_template_digest="",
            method=spec.method,
            hyperparameters=spec.hyperparameters,
            seed=seed or next(self.numbers),
            trainer=spec.backend,
            place=spec.place,
        )
        data = dataset or self.bench.dataset()
        return Order(job_key(data, recipe, spec.backend, account, 1), 1, recipe, data)

    def dataset_of(self, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Dataset:
        """A dataset with these rows."""
        made = self.bench.dataset()
        splits = {}
        for side, rows in (("train", train), ("validation", validation)):
            artifact = self.bench.artifacts.put_bytes(write_rows(rows), "application/jsonl")
            splits[side] = getattr(made, side).model_copy(update={"artifact": artifact, "rows": len(rows)})
        digest = digest_of(repr((train, validation)).encode())
        return made.model_copy(update={**splits, "digest": digest})


def make_settling_bench(project: Path, settle_s: float) -> Bench:
    """An installation in a folder, whose lost jobs show up within so many seconds."""
    bench = make_bench(project)
    return replace(bench, settings=replace(bench.settings, settle_s=settle_s))


def pairs(number: int, offset: int = 0) -> list[dict[str, Any]]:
    """Rows of preferences."""
    worse = [{"role": "assistant", "content": "I do not know"}]
    return [{**row, "rejected": worse} for row in make_rows(number, offset)]

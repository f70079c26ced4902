"""The OpenAI backend before the emulator: the real SDK in strict mode, and small orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retune.artifacts import digest_of
from retune.backends.attempts import job_key
from retune.backends.base import Order
from retune.backends.openai_jobs import OpenAIBackend
from retune.records import Dataset, Recipe
from retune.settings import EnvironmentConnections, OpenAIAccount
from retune.spec.recipes import OpenAIRecipe
from retune.testing.emulators.process import Running
from tests.contract.house import House
from tests.tuning import Bench, make_bench, make_rows, write_rows

MODEL = "gpt-4.1-mini-2025-04-14"
CANARY = "sk-canary-7d41e0c2b95f4a6e8c33"
OPENAI_CONTRACT = (
    Path(__file__).resolve().parents[3] / "shared" / "contracts" / "openai-fine-tuning.openapi.json"
)
FAILS: dict[str, Any] = {"on": "POST /v1/fine_tuning/jobs", "do": "fail_job"}


class OneAccount(EnvironmentConnections):
    """Knows one OpenAI account, by every name."""

    def __init__(self, account: OpenAIAccount) -> None:
        self._account = account

    def openai(self, name: str) -> OpenAIAccount:
        return self._account


@dataclass(frozen=True)
class Desk:
    """An installation whose OpenAI account is an emulator."""

    bench: Bench
    emulator: Running
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    @property
    def account(self) -> OpenAIAccount:
        return OpenAIAccount(f"{self.emulator.url}/v1", CANARY, "org-ours", "proj-ours")

    def backend(
        self, kind: type[OpenAIBackend] = OpenAIBackend, account: OpenAIAccount | None = None, **given: Any
    ) -> OpenAIBackend:
        """A new instance, as another process would make it; polls at once."""
        connections = OneAccount(account or self.account)
        made = kind(
            replace(self.bench, connections=connections).installation,
            {"connection": "openai_default"},
            **{"strict": True, **given},
        )
        made.poll_every_s = 0.02
        return made

    def order(self, dataset: Dataset | None = None, base_model: str = MODEL, **given: Any) -> Order:
        """An order that is like no other, unless it says its seed."""
        seed = given.pop("seed", None) or next(self.numbers)
        spec = OpenAIRecipe(backend="openai", base_model=base_model, **given)
        recipe = Recipe(
            spec_digest=digest_of(b"spec"),
            index=0,
            backend="openai",
            base_model=base_model,
            base_digest=f"openai:{base_model}",
            chat_template_digest="",
            method=spec.method,
            hyperparameters=spec.hyperparameters,
            seed=seed,
            trainer="openai",
            place=spec.place,
        )
        data = dataset or self.bench.dataset()
        return Order(job_key(data, recipe, "openai", "", 1), 1, recipe, data)

    def dataset_of(self, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Dataset:
        """A dataset with these rows."""
        made = self.bench.dataset()
        splits = {}
        for side, rows in (("train", train), ("validation", validation)):
            artifact = self.bench.artifacts.put_bytes(write_rows(rows), "application/jsonl")
            splits[side] = getattr(made, side).model_copy(update={"artifact": artifact, "rows": len(rows)})
        digest = digest_of(repr((train, validation)).encode())
        return made.model_copy(update={**splits, "digest": digest})


def make_desk(project: Path, emulator: Running, settle_s: float = 120.0) -> Desk:
    """An installation in a folder before an emulator."""
    bench = make_bench(project)
    return Desk(replace(bench, settings=replace(bench.settings, settle_s=settle_s)), emulator)


def pairs(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """Rows of preferences."""
    worse = [{"role": "assistant", "content": "I do not know"}]
    return [{**row, "rejected": worse} for row in make_rows(count, offset)]


def make_openai_house(project: Path, emulator: Running) -> House:
    """What the shared contract tests need; the emulator should let jobs run for some seconds."""
    desk = make_desk(project, emulator)
    failing = desk.order(suffix="fails")

    class Prepared(OpenAIBackend):
        """Has the emulator fail the job of one order."""

        def submit(self, order: Order, posting: Callable[[], None]) -> Any:
            emulator.set_faults([FAILS] if order.key == failing.key else [])
            return super().submit(order, posting)

    return House(
        connect=lambda: desk.backend(Prepared),
        artifacts=desk.bench.artifacts,
        good=desk.order(),
        long=desk.order(epochs=50),
        refused=desk.order(base_model="gpt-of-nowhere"),
        failing=failing,
    )

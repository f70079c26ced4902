"""The OpenAI backend before the emulator: the real SDK in strict mode, and small orders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retune.backends.base import Order
from retune.backends.openai_jobs import OpenAIBackend
from retune.records import Dataset, Job
from retune.settings import OpenAIAccount
from retune.spec.recipes import OpenAIRecipe
from retune.testing.emulators.process import Running
from tests.contract.desk import HostedDesk, make_settling_bench
from tests.contract.house import House

MODEL = "gpt-4.1-mini-2025-04-14"
CANARY = "sk-canary-7d41e0c2b95f4a6e8c33"
OPENAI_CONTRACT = (
    Path(__file__).resolve().parents[3] / "shared" / "contracts" / "openai-fine-tuning.openapi.json"
)
CREATE, JOBS, ONE = (
    "POST /v1/fine_tuning/jobs",
    "GET /v1/fine_tuning/jobs",
    "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}",
)
FAILS: dict[str, Any] = {"on": CREATE, "do": "fail_job"}
GRADER = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}",
}


class Desk(HostedDesk):
    """An installation whose OpenAI account is an emulator."""

    @property
    def account(self) -> OpenAIAccount:
        return OpenAIAccount(f"{self.emulator.url}/v1", CANARY, "org-ours", "proj-ours")

    def backend(
        self, kind: type[OpenAIBackend] = OpenAIBackend, account: OpenAIAccount | None = None, **given: Any
    ) -> OpenAIBackend:
        """A new instance, as another process would make it; polls at once."""
        made = kind(
            self.installation_of(account or self.account),
            {"connection": "openai_default"},
            **{"strict": True, **given},
        )
        made.poll_every_s = 0.02
        return made

    def order(
        self, dataset: Dataset | None = None, base_model: str = MODEL, seed: int | None = None, **given: Any
    ) -> Order:
        """An order that is like no other, unless it says its seed."""
        spec = OpenAIRecipe(backend="openai", base_model=base_model, **given)
        return self.order_of(spec, dataset, seed=seed)


def make_desk(project: Path, emulator: Running, settle_s: float = 120.0) -> Desk:
    """An installation in a folder before an emulator."""
    return Desk(make_settling_bench(project, settle_s), emulator)


def submitted(backend: OpenAIBackend, order: Order) -> Job:
    """The job of an order that nobody else submits."""
    return backend.submit(order, lambda: None)


def no_key_in(error: BaseException | None) -> None:
    """Neither the error nor what it came from holds the key, or anything of the SDK's, which holds it."""
    while error is not None:
        assert CANARY not in f"{error} {error!r} {vars(error)}"
        assert type(error).__module__.split(".")[0] not in ("openai", "httpx", "httpx2", "httpcore")
        error = error.__cause__ or error.__context__


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

"""Emulators in processes of their own, and OpenAI's own description where it is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from retune.testing.emulators.process import Running, running
from tests.contract.emulators.vertex_client import vertex

OPENAI_CONTRACT = (
    Path(__file__).resolve().parents[4] / "shared" / "contracts" / "openai-fine-tuning.openapi.json"
)
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def module_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One OpenAI emulator for the module's quick tests; every answer is held against the contract."""
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.exists() else {}
    with running("openai", tmp_path_factory.mktemp("openai"), phase_s=0.02, **contract) as emulator:
        yield emulator
        assert emulator.problems() == []


@pytest.fixture
def openai_emulator(module_emulator: Running) -> Iterator[Running]:
    """The module's emulator, with no faults and a quick clock."""
    module_emulator.set_faults([])
    module_emulator.set_options(phase_s=0.02, list_lag_s=0.0, file_s=0.0)
    yield module_emulator
    assert module_emulator.problems() == []


@pytest.fixture(scope="module")
def module_vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Vertex AI emulator for the module's quick tests."""
    with vertex(tmp_path_factory.mktemp("vertex")) as emulator:
        yield emulator


@pytest.fixture
def vertex_emulator(module_vertex: Running) -> Running:
    """The module's emulator, with no faults and a quick clock."""
    module_vertex.set_faults([])
    module_vertex.set_options(phase_s=0.02, list_lag_s=0.0)
    return module_vertex


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start emulators of the test's own; they end with it."""
    with ExitStack() as stack:

        def begin(kind: str = "openai", **given: Any) -> Running:
            given.setdefault("phase_s", 0.02)
            if kind == "openai" and OPENAI_CONTRACT.exists():
                given.setdefault("contract", str(OPENAI_CONTRACT))
            return stack.enter_context(running(kind, tmp_path / kind, **given))

        yield begin


@pytest.fixture
def openai_contract() -> Path:
    """OpenAI's own description."""
    if not OPENAI_CONTRACT.exists():
        pytest.skip(f"OpenAI's description is not here: {OPENAI_CONTRACT}")
    return OPENAI_CONTRACT

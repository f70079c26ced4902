"""One OpenAI emulator per module, held against OpenAI's own description where it is at hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retune.testing.emulators.process import Running, running
from tests.contract.openai_house import OPENAI_CONTRACT, Desk, make_desk


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.exists() else {}
    with running("openai", tmp_path_factory.mktemp("openai"), **contract) as emulator:
        yield emulator


@pytest.fixture
def emulator(emulated: Running) -> Iterator[Running]:
    emulated.set_faults([])
    emulated.set_options(phase_s=0.02, list_lag_s=0.0, file_s=0.0, models={})
    yield emulated
    assert emulated.problems() == []


@pytest.fixture(scope="module")
def module_desk(tmp_path_factory: pytest.TempPathFactory, emulated: Running) -> Desk:
    return make_desk(tmp_path_factory.mktemp("project"), emulated, settle_s=4.0)


@pytest.fixture
def desk(module_desk: Desk, emulator: Running) -> Desk:
    return module_desk

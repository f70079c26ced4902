"""One Vertex AI emulator per module; it lets only our token in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retune.testing.emulators.process import Running, running
from tests.contract.vertex_house import CANARY, Desk, make_desk

SETTLE_S = 3.0


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("vertex")
    with running("vertex", folder, api_key=CANARY, phase_s=0.3) as made:
        yield made
        assert made.problems() == []


@pytest.fixture(scope="module")
def module_desk(emulator: Running, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return make_desk(tmp_path_factory.mktemp("project"), emulator, SETTLE_S)


@pytest.fixture
def desk(module_desk: Desk, emulator: Running) -> Desk:
    emulator.set_faults([])
    return module_desk

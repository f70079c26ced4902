"""Backends of a third party in a project of its own, and one job on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retune.backends import patience
from tests.tuning import Bench, make_bench
from tests.unit.backends.provider import BilledBackend, Run, provider
from tests.unit.backends.service import TogetherBackend, service


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed requests are tried again at once."""
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_S", 0.002)


@pytest.fixture
def fresh() -> None:
    """The providers know of no job yet."""
    provider.reset()
    service.reset()


@pytest.fixture
def third_party(fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is installed that brings the backends `billed` and `together`."""
    metadata = tmp_path / "site" / "third_party-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    backends = (BilledBackend, TogetherBackend)
    lines = [f"{backend.name} = {backend.__module__}:{backend.__name__}" for backend in backends]
    (metadata / "entry_points.txt").write_text("\n".join(["[retune.backends]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def bench(quick: None, third_party: None, tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path / "project")
    # Nothing listens there.
    return replace(bench, settings=replace(bench.settings, mlflow_uri="http://127.0.0.1:1"))


@pytest.fixture
def run(bench: Bench) -> Run:
    return Run(bench)

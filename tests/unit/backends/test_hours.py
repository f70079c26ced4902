"""An hour of one's own machine costs what its owner says, and a cluster's is not known before."""

from __future__ import annotations

from pathlib import Path

from retune.backends.hours import cost, estimate
from retune.settings import Settings


def settings_with(tmp_path: Path, hours: str) -> Settings:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "prices.yaml").write_text(
        f"version: 1\nbackends:\n  kubernetes:\n    hours:\n      gpu:\n        usd_per_hour: {hours}\n"
        "        as_of: 2026-11-01\n        source: the bill\n"
    )
    return Settings.load({"project": str(tmp_path)}.get)


def test_ones_own_box_costs_nothing(tmp_path: Path) -> None:
    settings = Settings.load({"project": str(tmp_path)}.get)
    assert estimate(settings, "ssh", {}).usd == 0.0
    assert cost(settings, "ssh", {}, 3600) == 0.0


def test_a_cluster_without_a_price_is_not_taken_for_free(tmp_path: Path) -> None:
    settings = Settings.load({"project": str(tmp_path)}.get)
    found = estimate(settings, "kubernetes", {})
    assert found.usd is None and "put it into include/prices.yaml" in found.basis
    assert cost(settings, "kubernetes", {}, 3600) is None


def test_hours_are_paid_for_each_gpu(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "2.5")
    found = estimate(settings, "kubernetes", {"queue": "gpu"})
    assert found.usd is None and "2.5 USD an hour" in found.basis and "the bill" in found.basis
    assert cost(settings, "kubernetes", {"queue": "gpu", "gpus": "4"}, 1800) == 5.0
    assert cost(settings, "kubernetes", {"queue": "gpu"}, 1800) == 1.25

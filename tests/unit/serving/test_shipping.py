"""The access log becomes captured traffic: at least once, nothing twice, whatever dies when."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import EndpointError
from retune.records import Exchange
from retune.serving import gateway
from retune.serving.shipping import Shipper, _content, read_line, start_rotation
from retune.text.traffic import load, written_at
from tests.unit.serving.builders import digest, route, until
from tests.unit.serving.conftest import Gateway

ONE = digest("1")


def captured(folder: Path) -> list[Exchange]:
    return [
        exchange
        for path in sorted(folder.rglob("*.jsonl"))
        for exchange in load(path.read_bytes(), str(path))
    ]


def test_traffic_arrives_once_while_envoy_runs(envoy: Gateway, tmp_path: Path) -> None:
    envoy.lead(route((1, ONE, 100), alias="shipped"))
    shipper = Shipper(envoy.folder, tmp_path.as_uri(), "host/1", every_s=0.0)
    for number in range(60):
        envoy.ask("shipped", f"request {number}")
        if number % 20 == 0:
            shipper.ship()

    def mine() -> list[Exchange]:
        shipper.ship()
        return [exchange for exchange in captured(tmp_path) if exchange.alias == "shipped"]

    until(lambda: len(mine()) >= 60, "all 60 are shipped")
    assert sorted(e.prompt for e in mine()) == sorted(f"request {number}" for number in range(60))
    files = list(tmp_path.rglob("*.jsonl"))
    assert {path.parent.parent.name for path in files} == {"tickets"}
    for path in files:
        written = written_at(path.name)
        assert written and all(exchange.at <= written for exchange in load(path.read_bytes(), ""))
    assert not list(envoy.folder.glob("access-*.sealed"))


def line(prompt: str = "cHJvbXB0", **more: object) -> bytes:
    kept = {"alias": "a", "pipeline": "p", "release": "1", "digest": ONE, "version": "1", "probe": ""}
    entry = {"at": "2026-11-01T12:00:00.000001+00:00", "status": 200, "latency_ms": 3}
    return json.dumps({**entry, "kept": {**kept, "prompt": prompt, **more}}).encode() + b"\n"


def test_a_file_shipped_again_after_a_kill_changes_nothing(tmp_path: Path) -> None:
    folder, store = tmp_path / "gateway", tmp_path / "store"
    folder.mkdir()
    sealed = folder / f"access-{int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())}000000000.sealed"
    sealed.write_bytes(line() * 3)
    copy = shutil.copy(sealed, tmp_path / "copy")
    shipper = Shipper(folder, store.as_uri(), "agent")
    shipper.ship()
    assert not sealed.exists()
    once = {path: path.read_bytes() for path in store.rglob("*.jsonl")}
    shutil.copy(copy, sealed)  # as if it was killed between shipping and deleting
    shipper.ship()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == once
    assert len(captured(store)) == 3


def test_a_log_that_envoy_may_still_write_to_waits(tmp_path: Path) -> None:
    shipper = Shipper(tmp_path, (tmp_path / "store").as_uri(), "agent", every_s=0.0)
    gateway.access_log(tmp_path).write_bytes(line())
    shipper.ship()
    assert (tmp_path / "access.rotating").exists() and not captured(tmp_path)
    gateway.access_log(tmp_path).write_bytes(b"")
    shipper.ship()
    assert len(captured(tmp_path)) == 1


def test_a_line_that_a_crash_cut_off_costs_no_other(tmp_path: Path) -> None:
    log = gateway.access_log(tmp_path)
    log.write_bytes(line() + line()[:50])
    start_rotation(tmp_path)  # as at Envoy's next start
    log.write_bytes(line())
    shipper = Shipper(tmp_path, (tmp_path / "store").as_uri(), "agent", every_s=0.0)
    for _ in range(2):
        shipper.ship()
        log.touch()
    shipper.ship()
    assert len(captured(tmp_path)) == 2


def test_a_store_that_cannot_be_written_keeps_the_traffic_here(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    sealed = tmp_path / "access-1.sealed"
    sealed.write_bytes(line())
    with pytest.raises(EndpointError, match="cannot be written"):
        Shipper(tmp_path, (tmp_path / "store").as_uri(), "agent").ship()
    assert sealed.exists()


def test_probes_and_damage_are_left_out() -> None:
    assert read_line(line(probe="yes")) is None
    assert read_line(b"{") is None
    assert read_line(b'{"kept": {}}') is None
    nothing_readable = read_line(line())
    assert nothing_readable and nothing_readable.prompt == nothing_readable.answer == ""


@given(st.text(), st.integers(0, 40))
def test_any_message_that_is_cut_off_gives_its_beginning(text: str, cut: int) -> None:
    for ascii_only in (True, False):
        raw = json.dumps(text, ensure_ascii=ascii_only)
        assert _content(raw) == text
        found = _content(raw[: max(1, len(raw) - cut)])
        # Half of a pair of \\u escapes is the one thing that is not a beginning of the text.
        assert text.startswith(found) or text.startswith(found[:-1])
        assert len(found) >= len(text) - cut

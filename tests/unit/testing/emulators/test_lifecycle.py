"""Jobs that move on by the clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retune.testing.emulators.lifecycle import Life, Phase

ORDER = [Phase.VALIDATING, Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]


def seconds(phase: str) -> float:
    return {"validating": 1.0, "queued": 2.0, "running": 10.0}[phase]


def test_a_job_comes_through_every_phase_at_its_time() -> None:
    life = Life.begin(100.0)
    assert life.advance(100.9, seconds) == []
    assert life.advance(103.5, seconds) == [Phase.QUEUED, Phase.RUNNING]
    assert life.advance(1000.0, seconds) == [Phase.SUCCEEDED]
    assert life.entered == {"validating": 100.0, "queued": 101.0, "running": 103.0, "succeeded": 113.0}


def test_a_job_fails_in_the_phase_it_was_told_to() -> None:
    error = {"code": "c", "message": "m", "param": None}
    life = Life.begin(0.0, "validating", error)
    assert life.advance(50.0, seconds) == [Phase.FAILED]
    assert (life.error, life.entered["failed"]) == (error, 1.0)
    running = Life.begin(0.0, "running", error)
    assert running.advance(50.0, seconds) == [Phase.QUEUED, Phase.RUNNING, Phase.FAILED]


def test_a_pause_stops_the_clock_and_counts_for_no_phase() -> None:
    life = Life.begin(0.0)
    life.advance(5.0, seconds)
    life.pause(8.0)
    assert life.advance(1000.0, seconds) == []
    assert life.share(1000.0, seconds) == 0.5
    life.resume(1000.0)
    assert life.advance(1004.9, seconds) == []
    assert life.advance(1005.0, seconds) == [Phase.SUCCEEDED]


def test_a_cancelled_job_moves_no_more_and_keeps_its_share() -> None:
    life = Life.begin(0.0)
    life.advance(5.0, seconds)
    life.cancel(8.0)
    assert life.advance(1000.0, seconds) == []
    assert (life.phase, life.share(1000.0, seconds)) == (Phase.CANCELLED, 0.5)


def test_no_time_at_all_is_time_enough() -> None:
    life = Life.begin(0.0)
    assert life.advance(0.0, lambda phase: 0.0)[-1] == Phase.SUCCEEDED
    assert Life.begin(0.0).share(5.0, lambda phase: 0.0) == 0.0


@given(
    looks=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 20)), max_size=12),
    again=st.booleans(),
)
def test_a_job_never_goes_back_whatever_becomes_of_the_options(
    looks: list[tuple[float, float]], again: bool
) -> None:
    life, now, place = Life.begin(0.0), 0.0, 0
    for later, pace in looks:
        now += later
        came = life.advance(now, lambda phase, pace=pace: pace)  # type: ignore[misc]
        if again:
            life = Life.of(life.as_json())
        assert ORDER.index(life.phase) == place + len(came)
        place += len(came)
        assert life.since <= now
    assert list(life.entered.values()) == sorted(life.entered.values())

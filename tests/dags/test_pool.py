"""The GPU's pool through Airflow's own command line, as `retune migrate` and `retune doctor` use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow.models.pool import Pool
from airflow.utils.session import create_session
from sqlalchemy import delete

from retune.doctor import look_at_pool
from retune.pools import GPU_POOL, airflow_command, make_gpu_pool
from retune.settings import Settings


@pytest.fixture
def no_pool() -> Iterator[None]:
    """Airflow without the pool; other tests find it again."""
    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool == GPU_POOL))
    yield
    with create_session() as session:
        Pool.create_or_update_pool(GPU_POOL, 1, "", include_deferred=True, session=session)


def test_the_pool_is_made_once_and_counts_deferred_tasks(no_pool: None) -> None:
    command = airflow_command()
    assert command
    (missing,) = look_at_pool(Settings.load())
    assert (missing.level, missing.action) == ("fail", "run `retune migrate`")
    assert make_gpu_pool(command)
    assert not make_gpu_pool(command)
    (found,) = look_at_pool(Settings.load())
    assert (found.level, found.what) == ("ok", f"{GPU_POOL}, 1 slots")

"""On a real PostgreSQL, too, runs that reserve at once never overdraw a month together."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune.spec.budget import Budget
from retune.state import spending
from retune.state.database import Database
from retune.state.spending import BudgetError, Spent

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BUDGET = Budget(monthly_usd=100.0)
pytest.importorskip("psycopg2", reason="no driver of PostgreSQL is installed")


def programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs, where they are installed."""
    command = shutil.which("pg_config")
    if command:
        found = subprocess.run([command, "--bindir"], capture_output=True, text=True, check=True)
        if (Path(found.stdout.strip()) / "initdb").exists():
            return Path(found.stdout.strip())
    return next((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)


def as_user() -> dict[str, int]:
    """Return what runs a server that refuses to run as root."""
    if os.getuid():
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid}


@pytest.fixture
def db() -> Iterator[Database]:
    """A migrated database on a server of its own, reached by a socket only."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="retune-pg-"))
    user = as_user()
    if user:
        os.chown(folder, user["user"], user["group"])
    data = folder / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"

    def run(program: str, *words: str) -> None:
        command = [str(bin_folder / program), "-D", str(data), *words]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=folder, **user
        )

    run("initdb", "--username=retune", "--auth=trust", "--no-sync")
    run("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "--options", options)
    database = Database(f"postgresql+psycopg2://retune@/postgres?host={folder}")
    try:
        database.migrate()
        yield database
    finally:
        database.engine.dispose()
        run("pg_ctl", "stop", "--wait", "--mode=immediate")
        shutil.rmtree(folder)


def test_runs_that_reserve_at_once_never_overdraw_the_month(db: Database) -> None:
    start, refused = threading.Barrier(8), []

    def run(number: int) -> None:
        mine = Database(db.url)
        for round_number in range(10):
            start.wait(timeout=60)
            try:
                with mine.write() as tx:
                    spending.reserve(tx, f"{number} {round_number}", "tickets", 9.0, NOW, BUDGET)
            except BudgetError:
                refused.append(number)
        mine.engine.dispose()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    with db.read() as tx:
        # 11 of 9 USD fit into 100.
        assert spending.spent(tx, "tickets", NOW) == Spent(settled=0.0, reserved=99.0, jobs=11, unpriced=0)
    assert len(refused) == 80 - 11


def test_a_job_that_two_reserve_at_once_is_reserved_once(db: Database) -> None:
    start, found = threading.Barrier(8), []

    def run(number: int) -> None:
        mine = Database(db.url)
        start.wait(timeout=60)
        with mine.write() as tx:
            found.append(spending.reserve(tx, "k", "tickets", float(number), NOW, BUDGET).usd)
        mine.engine.dispose()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 8 and len(set(found)) == 1
    with db.write() as tx:
        spending.settle(tx, "k", None, NOW)
        assert spending.spent(tx, None, NOW) == Spent(settled=0.0, reserved=0.0, jobs=1, unpriced=1)

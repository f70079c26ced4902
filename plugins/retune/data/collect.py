"""All rows of all sources in one table, read by several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from retune.data.blocks import Block, cut
from retune.data.intake import Plan, Read, read_block
from retune.data.sources import Source
from retune.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_MOST_PROCESSES = 8
# A process that is not needed for this long ends; one that is waits for the next block.
_IDLE_S = 10


@dataclass
class Tally:
    """What the sources held, in figures.

    Attributes:
        digests: Source -> digest of its bytes.
        rows: Source -> its rows.
        personal: Kind -> how many pieces of personal data were found.
        cleaned: Rows that cleaning changed.
    """

    digests: dict[str, str] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)
    cleaned: int = 0


@dataclass(frozen=True)
class Collected:
    """What the sources held.

    Attributes:
        rows: One row a source row.
        columns: Source columns that the expectations judge: the values, row by row.
        tally: The figures.
    """

    rows: pl.DataFrame
    columns: dict[str, list[Any]]
    tally: Tally


def collect(sources: Iterable[Source], plan: Plan, report: Callable[[str], None]) -> Collected:
    """Read all rows; every one is judged, also those that are left out.

    Args:
        sources: The files.
        plan: What the reading processes must know.
        report: Takes a line of progress a block.

    Raises:
        DataError: A file cannot be read, is damaged, or changed while it was read.
    """
    import polars as pl

    plan.spool.mkdir(parents=True, exist_ok=True)
    frames: list[pl.DataFrame] = []
    columns: dict[str, list[Any]] = {}
    tally, count = Tally(), 0
    for read in _read(cut(sources, _needed(plan), tally.digests.__setitem__), plan):
        for name in {*columns, *read.columns}:
            values = read.columns.get(name, [None] * read.rows.height)
            columns.setdefault(name, [None] * count).extend(values)
        count += read.rows.height
        frames.append(read.rows)
        tally.rows[read.file] += read.rows.height
        tally.personal.update(read.personal)
        tally.cleaned += read.cleaned
        report(f"read {count:,} rows")
    return Collected(pl.concat(frames) if frames else _nothing(plan), columns, tally)


def _read(blocks: Iterator[Block], plan: Plan) -> Iterator[Read]:
    """Read blocks in their order; one or two are not worth a process."""
    first = list(islice(blocks, 3))
    if len(first) < 3:
        yield from (read_block(block, plan) for block in first)
        return
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # Not by forking: a task's process may run threads, whose locks a fork would keep for ever.
    pool = Parallel(
        n_jobs=min(cpu_count(), _MOST_PROCESSES),
        backend="loky",
        return_as="generator",
        pre_dispatch="2*n_jobs",
        batch_size=1,
        idle_worker_timeout=_IDLE_S,
    )
    try:
        yield from pool(delayed(read_block)(block, plan) for block in chain(first, blocks))
    except TerminatedWorkerError as error:
        what = "a process that read rows was killed, most likely for want of memory"
        raise DataError(what, "give the task more memory, and run it again") from error


def _needed(plan: Plan) -> tuple[str, ...]:
    columns = plan.spec.data.columns
    own = (name for name in (columns.prompt, columns.completion) if name)
    return (*own, *plan.spec.named_columns)


def _nothing(plan: Plan) -> pl.DataFrame:
    return read_block(Block(0, ""), plan).rows

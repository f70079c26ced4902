"""The dataset that a pipeline would begin with, made in memory: nothing is registered."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from retune.data.collect import collect
from retune.data.drops import Drops
from retune.data.figures import SIDES
from retune.data.intake import Plan
from retune.data.requirements import flaws
from retune.data.selection import History, distinct, examples_of, select
from retune.data.sources import find_sources
from retune.data.spool import Spool
from retune.errors import DataError
from retune.settings import EnvironmentFileSystems, Settings
from retune.spec import PipelineSpec
from retune.text.conversations import Conversation


@dataclass(frozen=True)
class FirstDataset:
    """A dataset while nothing was assigned before.

    Attributes:
        sides: Side -> its examples, in the order of the dataset's file.
        dropped: Reason -> rows left out.
    """

    sides: dict[str, list[Conversation]]
    dropped: dict[str, int]


def first_dataset(spec: PipelineSpec, settings: Settings) -> FirstDataset:
    """Return what the first preparation of a pipeline selects.

    A split is a function of rows and seed while nothing was assigned before, so no state is needed.

    Args:
        spec: Whose sources are read.
        settings: Where they lie.

    Raises:
        DataError: The sources cannot be read, or hold what is no conversation.
    """
    history, drops = History(), Drops()
    with tempfile.TemporaryDirectory() as folder, closing(Spool(Path(folder))) as spool:
        sources = find_sources(spec.data.sources, settings, EnvironmentFileSystems())
        collected = collect(sources, Plan(spec, Path(folder)), _say_nothing)
        if problems := flaws(collected):
            raise DataError(problems)
        found = distinct(examples_of(collected.rows, drops), spec, spool, history, drops)
        examples = select(found, spec, spool, history, drops, _say_nothing).examples
        sides = {side: list(spool.read(examples.filter(examples["side"] == side))) for side in SIDES}
    return FirstDataset(sides, drops.counts)


def _say_nothing(line: str) -> None:
    pass

"""Random states, drawn together with who points at what: the test's own account of what must stay."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from retune.records import (
    Artifact,
    Contender,
    Decision,
    JobStatus,
    Model,
    Release,
    Route,
    Target,
    Verdict,
)
from retune.spec.retention import Retention
from retune.state.jobs import JobRow
from retune.stored import Blob
from retune.upkeep.view import DatasetRow, IndexRow, JobEnd, View

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REPORTS_DAYS = 3
SPEC = "sha256:" + "5" * 64
PIPELINE = "tickets"


def digest(name: str) -> str:
    """A digest that a name stands for."""
    return "sha256:" + name.encode().hex().rjust(64, "0")


def days_ago(days: int) -> datetime:
    """A while ago, and never on the edge of a whole day."""
    return NOW - timedelta(days=days, hours=1)


@dataclass
class Graph:
    """A state, and who points at what in it."""

    view: View
    points: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Node -> nodes or digests that it needs."""
    must: set[str] = field(default_factory=set)
    """Nodes that stay for sure."""
    may: set[str] = field(default_factory=set)
    """Nodes that may stay: a rollback of a rollback could lead to them."""
    trees: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def reached(self, *roots: set[str]) -> set[str]:
        """Follow what nodes point at."""
        todo, found = [*set().union(*roots)], set()
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += self.points[node]
        return found

    @property
    def stored(self) -> list[Blob]:
        """A blob for every digest of the graph, and two that nothing points at."""
        named = {name for names in [self.points, *self.points.values()] for name in names}
        digests = {
            *(name for name in named if name.startswith("sha256:")),
            digest("lost"),
            digest("lost too"),
        }
        return [Blob(one, 10, f"store/{one[7:9]}/{one[7:]}") for one in sorted(digests)]


def artifact(name: str) -> Artifact:
    """An artifact of a name."""
    return Artifact(digest=digest(name), uri="memory://x", size=1, media_type="x/y")


def model(number: int) -> Model:
    """One of a few models."""
    return Model(
        spec_digest=SPEC,
        kind="adapter",
        digest=digest(f"model {number}"),
        uri="memory://x",
        base_model="base",
        base_digest=digest("base"),
        job_key=f"job {number}",
        recipe_index=0,
        seconds=1,
    )


def release(number: int, dataset: int, of: int, beaten: str) -> Release:
    """A release of a model; its evidence names the model it beat as well."""
    judged = Contender(spec_digest=SPEC, name="champion", model_name="m", model_digest=beaten)
    decision = Decision(
        spec_digest=SPEC,
        verdict=Verdict.PROMOTE,
        reason="better",
        checks=(),
        candidate=judged,
        reports={},
        dataset_digest=digest(f"dataset {dataset}"),
        report=artifact(f"evidence {number}"),
    )
    return Release(
        spec_digest=SPEC,
        pipeline=PIPELINE,
        number=number,
        model=model(of),
        dataset_digest=digest(f"dataset {dataset}"),
        decision=decision,
        dag_run_id=f"run {number}",
        created_at=NOW,
    )


MODELS, DATASETS = 4, 4
ages = st.integers(0, 9)
numbers = st.integers(0, 3)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a state of one pipeline."""
    keep = draw(st.integers(1, 2))
    retention = Retention.model_validate({"reports": f"{REPORTS_DAYS}d", "models": {"keep": keep}})
    graph = Graph(View(retention={PIPELINE: retention}))
    for number in range(MODELS):
        files = (digest(f"w {number}"), digest("config of all"))
        graph.trees[digest(f"model {number}")] = files
        graph.points[digest(f"model {number}")] |= {*files}
    _add_datasets(draw, graph)
    _add_jobs(draw, graph)
    _add_releases(draw, graph, keep)
    _add_pages(draw, graph)
    for number in draw(st.sets(numbers, max_size=1)):
        graph.view.placed.add(digest(f"model {number}"))
        graph.must.add(digest(f"model {number}"))
        graph.must |= {f"release {one.number}" for one in _of_model(graph, number)}
    for name in draw(st.sets(st.sampled_from(["train 0", "train 1", "held out", "page 0"]))):
        graph.view.successors[digest(name)] = digest(f"{name} without her")
        graph.points[digest(name)].add(digest(f"{name} without her"))
    return graph


def _of_model(graph: Graph, number: int) -> list[Release]:
    return [
        one for one in graph.view.releases.get(PIPELINE, []) if one.model.digest == digest(f"model {number}")
    ]


def _add_datasets(draw: st.DrawFn, graph: Graph) -> None:
    rows = []
    for number in range(DATASETS):
        age = draw(ages)
        sides = {"train": digest(f"train {number}"), "held_out": digest("held out")}
        rows.append(DatasetRow(PIPELINE, digest(f"dataset {number}"), sides, days_ago(age)))
        graph.points[f"dataset {number}"] |= {digest(f"dataset {number}"), *sides.values()}
        if age < 1:
            graph.must.add(f"dataset {number}")
    graph.view.datasets = rows
    newest = max(row.at for row in rows)
    latest = {f"dataset {number}" for number, row in enumerate(rows) if row.at == newest}
    graph.may |= latest
    if len(latest) == 1:
        graph.must |= latest


def _add_jobs(draw: st.DrawFn, graph: Graph) -> None:
    for number in range(draw(st.integers(0, 4))):
        dataset, of, age = draw(numbers), draw(numbers), draw(ages)
        status = draw(st.sampled_from([JobStatus.RUNNING, JobStatus.FAILED, JobStatus.SUCCEEDED]))
        made = model(of) if status is JobStatus.SUCCEEDED else None
        intent = {"dataset": digest(f"dataset {dataset}")}
        row = JobRow(f"job {number}", PIPELINE, "local", 1, status, intent, None, made, "")
        running = status is JobStatus.RUNNING
        graph.view.jobs.append(JobEnd(row, None if running else days_ago(age)))
        if made:
            graph.points[f"dataset {dataset}"].add(made.digest)
            graph.points[f"job {number}"].add(made.digest)
        if running or age < 1:
            graph.must.add(f"job {number}")
            graph.points[f"job {number}"].add(f"dataset {dataset}")


def _add_releases(draw: st.DrawFn, graph: Graph, keep: int) -> None:
    of = draw(st.lists(st.tuples(numbers, numbers), max_size=4))
    beaten = ["base", *(digest(f"model {number}") for _, number in of)]
    found = [release(number, *pair, beaten[number - 1]) for number, pair in enumerate(of, start=1)]
    graph.view.releases[PIPELINE] = found
    for one, (dataset, _) in zip(found, of, strict=True):
        needs = {f"dataset {dataset}", one.model.digest, digest(f"evidence {one.number}")}
        graph.points[f"release {one.number}"] |= needs
    graph.must |= {f"release {one.number}" for one in found[-keep:]}
    chosen = draw(st.lists(st.sampled_from(found), min_size=2, max_size=6)) if found else []
    routes = [
        Route(
            spec_digest=SPEC,
            alias=draw(st.sampled_from(["tickets", "renamed"])),
            pipeline=PIPELINE,
            endpoint="e",
            version=version,
            targets=(Target(release=one.number, model_digest=one.model.digest, weight=100),),
        )
        for version, one in enumerate(chosen, start=1)
    ]
    routes.reverse()
    graph.view.routes[PIPELINE] = routes
    # Whoever holds a model can say which releases it answers for.
    led = {one.model.digest for one in chosen}
    graph.may |= {f"release {one.number}" for one in found if one.model.digest in led}
    for alias in {route.alias for route in routes}:
        in_force = next(route for route in routes if route.alias == alias)
        graph.must.add(f"release {in_force.targets[0].release}")
    if routes:
        live = routes[0].targets[0].release
        for back in [route for route in routes if route.targets[0].release < live][:1]:
            graph.must.add(f"release {back.targets[0].release}")


def _add_pages(draw: st.DrawFn, graph: Graph) -> None:
    for number in range(draw(st.integers(0, 4))):
        age, kind = draw(ages), draw(st.sampled_from(["evaluation", "outcomes"]))
        graph.view.index.append(IndexRow(PIPELINE, digest(f"page {number}"), kind, days_ago(age)))
        graph.points[f"page {number}"].add(digest(f"page {number}"))
        if age < REPORTS_DAYS:
            graph.must.add(f"page {number}")
    for kind in ("evaluation", "outcomes"):
        ofkind = [row for row in graph.view.index if row.kind == kind]
        newest = [row for row in ofkind if row.at == max(one.at for one in ofkind)]
        nodes = {f"page {n}" for n, row in enumerate(graph.view.index) if row in newest}
        graph.may |= nodes
        if len(nodes) == 1:
            graph.must |= nodes

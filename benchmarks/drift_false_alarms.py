"""How often does the watch cry wolf, and how much of the traffic must move before it fires?

    PYTHONPATH=plugins python -m benchmarks.drift_false_alarms [--csv FILE --prompt COLUMN --label COLUMN]

Windows of 150-300 requests against a held-out reference; a TF-IDF model answers in place of a
release. On the sample tickets: fresh tickets of the usual kind, mixed with the moved batch. With
--csv: a labelled file, of which one half of the labels is "usual" and the other half the move.
Beside Retune stands Evidently with its own defaults, on the same requests and answers.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retune.artifacts import Artifacts
from retune.monitoring.drift import check_drift
from retune.records import Exchange, Outcome
from retune.testing.tickets import tickets
from tests.unit.monitoring.builders import NOW, SPEC, release, stored, traffic

RESULTS = Path(__file__).parent / "results" / "drift_false_alarms.json"
MOVED_SHARES = (0.0, 0.2, 0.5, 1.0)
Rows = list[tuple[str, str]]
Sample = Callable[[random.Random, int], list[str]]


@dataclass(frozen=True)
class Study:
    """One data set: what the stand-in model learns, is judged on, and then meets."""

    name: str
    train: Rows
    held_out: Callable[[random.Random], Rows]
    usual: Sample
    moved: Sample


class StandIn:
    """A text classifier in place of a fine-tuned release."""

    def __init__(self, rows: Rows) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=300, C=5.0))
        self._model.fit([text for text, _ in rows], [label for _, label in rows])

    def answered(self, texts: list[str]) -> list[Exchange]:
        answers = [str(label) for label in self._model.predict(texts)]
        return traffic(list(zip(texts, answers, strict=True)))

    def judged(self, rows: Rows) -> list[Outcome]:
        return [
            Outcome(
                id=str(index),
                prompt=exchange.prompt,
                expected=label,
                answer=exchange.answer,
                predicted=exchange.answer,
                correct=exchange.answer == label,
                latency_s=0.1,
            )
            for index, (exchange, (_, label)) in enumerate(
                zip(self.answered([text for text, _ in rows]), rows, strict=True)
            )
        ]


def evidently_defaults(reference: list[Exchange], window: list[Exchange]) -> bool:
    """Evidently as its guide has it: descriptors, text drift and label, drift at half the columns."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.descriptors import NonLetterCharacterPercentage, SentenceCount, TextLength, WordCount
    from evidently.presets import DataDriftPreset

    def side(rows: list[Exchange]) -> Dataset:
        frame = pd.DataFrame({"prompt": [row.prompt for row in rows], "label": [row.answer for row in rows]})
        return Dataset.from_pandas(
            frame,
            data_definition=DataDefinition(text_columns=["prompt"], categorical_columns=["label"]),
            descriptors=[
                TextLength("prompt", alias="length"),
                WordCount("prompt", alias="words"),
                SentenceCount("prompt", alias="sentences"),
                NonLetterCharacterPercentage("prompt", alias="non-letters"),
            ],
        )

    snapshot = Report([DataDriftPreset(drift_share=0.5)]).run(side(window), side(reference))
    return bool(snapshot.dict()["metrics"][0]["value"]["share"] >= 0.5)


def run(study: Study, windows: int, peer_windows: int) -> dict[str, object]:
    """Fire rates by share of moved requests; every window meets a held-out set of its own."""
    model, by_share = StandIn(study.train), {}
    with tempfile.TemporaryDirectory() as folder:
        store = Artifacts(Path(folder).as_uri())
        for share in MOVED_SHARES:
            count = windows // 3 if share else windows
            fired, peer, columns, reason = 0, 0, Counter[str](), ""
            rng = random.Random(f"{study.name} {share}")
            for index in range(count):
                held_out, window = study.held_out(rng), model.answered(mixed(study, share, rng))
                live = release(stored(model.judged(held_out), store))
                report = check_drift(live, SPEC, window, artifacts=store, now=NOW)
                fired, reason = fired + report.drifted, report.reason
                columns.update({column.name: int(column.drifted) for column in report.columns})
                if index < peer_windows:
                    peer += evidently_defaults(model.answered([text for text, _ in held_out]), window)
            by_share[str(share)] = {
                "windows": count,
                "fired": fired,
                "columns_moved": dict(columns),
                "evidently_defaults": {"windows": min(count, peer_windows), "fired": peer},
                "last_reason": reason,
            }
            print(study.name, share, f"{fired}/{count}", dict(columns), f"peer {peer}", flush=True)
    return {"data": study.name, "reference_rows": len(held_out), "by_moved_share": by_share}


def mixed(study: Study, share: float, rng: random.Random) -> list[str]:
    size = rng.randint(150, 300)
    new = round(size * share)
    return study.usual(rng, size - new) + study.moved(rng, new)


def ticket_study() -> Study:
    def drawn(rng: random.Random, count: int) -> Rows:
        return [(row["text"], row["queue"]) for row in tickets(count, seed=rng.randrange(10**6, 10**9))]

    later = [row["text"] for row in tickets(480, seed=23, moved=True)]

    return Study(
        "support tickets",
        drawn(random.Random(0), 1000),
        lambda rng: drawn(rng, 250),
        lambda rng, n: [text for text, _ in drawn(rng, n)],
        lambda rng, n: rng.sample(later, n),
    )


def csv_study(path: Path, prompt: str, label: str) -> Study:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row[prompt], row[label]) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    known = set(sorted({label for _, label in rows})[::2])
    old = [row for row in rows if row[1] in known]
    new = [text for text, label in rows if label not in known]
    third = len(old) // 3
    fresh = old[third:]
    return Study(
        path.parent.name,
        old[:third],
        lambda rng: rng.sample(fresh[:third], 400),
        lambda rng, n: [text for text, _ in rng.sample(fresh[third:], n)],
        lambda rng, n: rng.sample(new, n),
    )


def seconds() -> list[dict[str, float]]:
    """Time `check_drift`; the first run pays for the imports."""
    measured = []
    for rows in (300, 300, 5000):
        old = [(row["text"], row["queue"]) for row in tickets(rows, seed=3)]
        with tempfile.TemporaryDirectory() as folder:
            store = Artifacts(Path(folder).as_uri())
            live = release(stored([*_as_expected(old)], store))
            window = traffic([(row["text"], row["queue"]) for row in tickets(rows, seed=4)])
            start, cpu = time.perf_counter(), time.process_time()
            report = check_drift(live, SPEC, window, artifacts=store, now=NOW)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        measured.append(
            {
                "rows_a_side": rows,
                "seconds": round(wall, 2),
                "cpu_seconds": round(cpu, 2),
                "page_bytes": report.report.size,
            }
        )
    print(json.dumps(measured), flush=True)
    return measured


def _as_expected(rows: Rows) -> Iterator[Outcome]:
    for text, label in rows:
        yield Outcome(
            id=text, prompt=text, expected=label, answer=label, predicted=label, correct=True, latency_s=0.1
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--peer-windows", type=int, default=20)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--prompt", default="text")
    parser.add_argument("--label", default="category")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, object] = {"seconds_first_with_imports": seconds()}
    studies = [ticket_study()]
    if arguments.csv:
        studies.append(csv_study(arguments.csv, arguments.prompt, arguments.label))
    results["studies"] = [run(study, arguments.windows, arguments.peer_windows) for study in studies]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

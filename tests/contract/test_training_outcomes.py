"""What a training leaves: weights or an adapter that load, and have learned what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from retune.training.__main__ import main
from retune.training.job import JobFolder, TrainingJob
from tests.tuning import HYPERPARAMETERS, LABELS, make_base, make_rows, write_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


def train(path: Path, base: Path, rows: list[dict[str, Any]], **changed: Any) -> JobFolder:
    path.mkdir()
    folder = JobFolder(path)
    (path / "train.jsonl").write_bytes(write_rows(rows[8:]))
    (path / "validation.jsonl").write_bytes(write_rows(rows[:8]))
    other = {name: changed.pop(name) for name in ("method", "warm_start") if name in changed}
    folder.write_job(
        TrainingJob(
            train=str(path / "train.jsonl"),
            validation=str(path / "validation.jsonl"),
            base_model=str(base),
            base_name="tiny",
            hyperparameters=HYPERPARAMETERS | changed,
            seed=7,
            **other,
        )
    )
    assert main([str(path)]) == 0
    return folder


def evaluations(folder: JobFolder, name: str = "eval_loss") -> list[float]:
    return [entry[name] for entry in folder.read_progress() if name in entry]


def test_full_tuning_leaves_a_model_that_loads(tmp_path: Path, base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = train(tmp_path / "job", base, make_rows(40), tuning="full", packing=True)
    done = folder.read_done()
    assert done is not None and done.kind == "weights"
    names = {path.name for path in folder.model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))]
    model = AutoModelForCausalLM.from_pretrained(folder.model)
    before = AutoModelForCausalLM.from_pretrained(base)
    assert not torch.equal(
        model.model.layers[0].mlp.up_proj.weight, before.model.layers[0].mlp.up_proj.weight
    )
    losses = evaluations(folder)
    assert losses[-1] < losses[0]
    assert AutoTokenizer.from_pretrained(folder.model).chat_template


def test_a_warm_start_goes_on_where_the_champion_ended(tmp_path: Path, base: Path) -> None:
    rows = make_rows(40)
    first = train(tmp_path / "first", base, rows)
    calm = {"epochs": 1, "learning_rate": 1e-7}
    again = train(tmp_path / "again", base, rows, warm_start=str(first.model), **calm)
    assert evaluations(again)[0] == pytest.approx(min(evaluations(first)), abs=1e-3)
    cold = train(tmp_path / "cold", base, rows, epochs=1)
    assert evaluations(cold)[0] > evaluations(again)[0] + 0.1


def test_packing_needs_fewer_steps_and_still_learns(tmp_path: Path, base: Path) -> None:
    rows = make_rows(72)
    packed = train(tmp_path / "packed", base, rows, packing=True, batch_size=1, max_length=256, epochs=8)
    assert packed.read_progress()[-1]["total_steps"] < 8 * 64 / 4
    losses = evaluations(packed)
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("packing", [False, True])
def test_preferences_are_learned(tmp_path: Path, base: Path, packing: bool) -> None:
    rows = make_rows(72)
    for number, row in enumerate(rows):
        worse = LABELS[(number + 1) % len(LABELS)]
        row["rejected"] = [{"role": "assistant", "content": worse}]
    folder = train(tmp_path / "job", base, rows, method="dpo", epochs=6, beta=0.5, packing=packing)
    assert evaluations(folder, "eval_preference_accuracy")[-1] >= 0.75
    losses = evaluations(folder)
    assert losses[-1] < losses[0]
    assert not folder.tokens.exists() and not folder.checkpoints.exists()

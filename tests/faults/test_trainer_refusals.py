"""Bad input stops the trainer with one clear error in done.json, and trains nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retune.training.__main__ import main
from retune.training.job import JobFolder, TrainingJob
from retune.training.lease import HELD, hold
from tests.tuning import HYPERPARAMETERS, TEMPLATE, make_base, make_rows, write_rows


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "job").mkdir()
    return JobFolder(tmp_path / "job")


def run(folder: JobFolder, base: str, rows: list[dict[str, Any]] | None = None, **changed: Any) -> str:
    """Run the job in this process, so that torch is loaded once, and return its error."""
    write(folder, base, rows, **changed)
    assert main([str(folder.path)]) == 1
    done = folder.read_done()
    assert done is not None and done.status == "failed"
    assert not folder.model.exists() and not folder.checkpoints.exists()
    return done.error


def write(folder: JobFolder, base: str, rows: list[dict[str, Any]] | None = None, **changed: Any) -> None:
    train, validation = folder.path / "train.jsonl", folder.path / "validation.jsonl"
    train.write_bytes(write_rows(make_rows(16) if rows is None else rows))
    validation.write_bytes(write_rows(make_rows(4, 1000)))
    given = HYPERPARAMETERS | {"epochs": 1} | changed
    folder.write_job(TrainingJob(str(train), str(validation), base, "tiny", hyperparameters=given, seed=7))


def test_conversations_that_are_too_long_are_counted(folder: JobFolder, base: Path) -> None:
    rows = make_rows(16)
    for row in rows[3:5]:
        row["messages"][0]["content"] *= 9
    error = run(folder, str(base), rows, max_length=70)
    assert error.startswith(
        "2 of 16 training conversations are longer than max_length (70 tokens); the longest"
    )
    assert "-> raise max_length to" in error


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", ""),
        TEMPLATE.replace(
            "m['content'] + '<|im_end|>' }}{% endgeneration %}", "m['content'] }}{% endgeneration %}"
        ),
        None,
    ],
    ids=["no generation", "end outside", "no template"],
)
def test_a_template_that_teaches_nothing_is_refused(
    folder: JobFolder, tmp_path: Path, template: str | None
) -> None:
    error = run(folder, str(make_base(tmp_path / "base", template)))
    assert "chat template" in error and " -> " in error


def test_rows_without_an_answer_are_refused(folder: JobFolder, base: Path) -> None:
    rows = make_rows(16)
    rows[2]["messages"] = rows[2]["messages"][:1]
    assert "assistant" in run(folder, str(base), rows)


def test_every_line_that_is_no_conversation_is_listed(folder: JobFolder, base: Path) -> None:
    write(folder, str(base))
    path = folder.path / "train.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([b"{", *lines, b'{"text": 1}']))
    assert main([str(folder.path)]) == 1
    done = folder.read_done()
    assert done is not None
    assert [line.split(": ")[0] for line in done.error.splitlines()] == [f"{path}:1", f"{path}:18"]


@pytest.mark.parametrize("name", ["/nowhere/base", "org/unknown"])
def test_an_unknown_base_model_is_named(folder: JobFolder, name: str) -> None:
    error = run(folder, name)
    assert error.startswith(f"base model '{name}' cannot be loaded") and "Hugging Face id" in error


def add_auto_map(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))


def pickle_only(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def cut_weights(base: Path) -> None:
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (add_auto_map, "auto_map names the model's own Python code"),
        (pickle_only, "has no *.safetensors file"),
        (cut_weights, "are damaged"),
    ],
)
def test_a_base_model_that_could_run_code_or_is_broken_is_refused(
    folder: JobFolder, base: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(base)
    assert said in run(folder, str(base))


def test_a_loss_that_is_no_number_stops_at_once(folder: JobFolder, base: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    assert "became nan at step" in run(folder, str(base))


def test_a_training_that_changes_nothing_is_refused(folder: JobFolder, base: Path) -> None:
    assert "the adapter is empty" in run(folder, str(base), learning_rate=0.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[JobFolder]:
    path = tmp_path / "small"
    path.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", path]).returncode
    ):
        pytest.skip("only root may mount a small disk")
    yield JobFolder(path)
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_said(small_disk: JobFolder, base: Path) -> None:
    assert run(small_disk, str(base)).startswith("the disk is full -> free space")


def test_a_second_trainer_leaves_the_first_alone(
    folder: JobFolder, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, str(base))
    with hold(folder):
        assert main([str(folder.path)]) == HELD
    assert "is training in" in capsys.readouterr().err
    assert folder.read_done() is None

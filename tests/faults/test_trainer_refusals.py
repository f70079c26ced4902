"""Bad input stops the trainer with one clear error in done.json, and trains nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
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
    other = {name: changed.pop(name) for name in ("method", "warm_start") if name in changed}
    given = HYPERPARAMETERS | {"epochs": 1} | changed
    folder.write_job(
        TrainingJob(str(train), str(validation), base, "tiny", hyperparameters=given, seed=7, **other)
    )


def test_conversations_that_are_too_long_are_counted(folder: JobFolder, base: Path) -> None:
    rows = make_rows(16)
    for row in rows[3:5]:
        row["messages"][0]["content"] *= 9
    error = run(folder, str(base), rows, max_length=70)
    assert error.startswith(
        "2 of 16 training conversations are longer than max_length (70 tokens); the longest"
    )
    assert "; rows 4, 5 -> raise max_length to" in error


def test_all_that_is_wrong_with_the_rows_is_said_before_the_model_is_loaded(
    folder: JobFolder, base: Path
) -> None:
    (base / "model.safetensors").write_bytes(b"no weights")  # loading them would fail
    rows = make_rows(40)
    for row in rows[5:35]:
        row["messages"][0]["content"] *= 9
    rows[2]["messages"] = rows[2]["messages"][:1]
    error = run(folder, str(base), rows, max_length=70)
    assert "30 of 40 training conversations are longer" in error and " and 10 more -> " in error
    assert "1 of 40 training conversations have no assistant token; rows 3 -> " in error


def test_hyperparameters_that_make_no_sense_are_listed(folder: JobFolder, base: Path) -> None:
    error = run(folder, str(base), epochs=0, tuning="magic")
    assert "hyperparameter epochs is 0" in error and "hyperparameter tuning is 'magic'" in error


def test_preferences_without_a_worse_answer_are_refused(folder: JobFolder, base: Path) -> None:
    error = run(folder, str(base), method="dpo")
    assert (
        len([line for line in error.splitlines() if "has no rejected answer, which dpo needs" in line]) == 16
    )


def test_qlora_without_a_gpu_is_refused_before_the_model_is_loaded(folder: JobFolder, base: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    (base / "model.safetensors").write_bytes(b"no weights")
    assert "tuning qlora needs a CUDA device" in run(folder, str(base), tuning="qlora")


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


def pickle_beside(base: Path) -> None:
    (base / "training_args.bin").write_bytes(b"pickle")


def cut_weights(base: Path) -> None:
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (add_auto_map, "auto_map names the model's own Python code"),
        (pickle_only, "has no *.safetensors file"),
        (pickle_beside, "holds pickles, which can run code: training_args.bin"),
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


def test_weights_that_do_not_change_are_refused(folder: JobFolder, base: Path) -> None:
    assert "the training has changed nothing" in run(folder, str(base), learning_rate=0.0, tuning="full")


def write_adapter(folder: Path, **changed: Any) -> Path:
    """An adapter to start from, as an earlier job would have left it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {"m.lora_A.weight": torch.ones(4, 32), "m.lora_B.weight": torch.ones(32, 4)}
    tensors |= changed.pop("tensors", {})
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"base_model_name_or_path": "tiny", "peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(config | changed))
    return folder


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base_model_name_or_path": "huge"}, "base_model_name_or_path 'huge', not 'tiny'"),
        ({"r": 64}, "has r 64, not 4"),
        ({"peft_type": "PREFIX_TUNING"}, "has peft_type 'PREFIX_TUNING'"),
        ({"auto_mapping": {"parent_library": "evil"}}, "auto_mapping"),
    ],
)
def test_an_adapter_that_is_not_of_this_job_is_no_start(
    folder: JobFolder, base: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    start = write_adapter(tmp_path / "champion", **changed)
    assert said in run(folder, str(base), warm_start=str(start))


def test_a_spoiled_adapter_is_no_start(folder: JobFolder, base: Path, tmp_path: Path) -> None:
    import torch

    broken = write_adapter(tmp_path / "nan", tensors={"m.lora_A.weight": torch.full((4, 32), torch.nan)})
    assert "hold NaN or infinity" in run(folder, str(base), warm_start=str(broken))
    folder.done_file.unlink()
    empty = write_adapter(tmp_path / "empty", tensors={"m.lora_B.weight": torch.zeros(32, 4)})
    assert "the adapter is empty" in run(folder, str(base), warm_start=str(empty))
    folder.done_file.unlink()
    pickled = write_adapter(tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    assert "has no *.safetensors file" in run(folder, str(base), warm_start=str(pickled))


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch, peft, transformers, trl.chat_template_utils
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
from retune.training.__main__ import main

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main([sys.argv[1]]))
"""


def test_out_of_memory_says_what_fits(folder: JobFolder, base: Path) -> None:
    rows = make_rows(256)
    for row in rows:
        row["messages"][1]["content"] = "please help me " * 60
    write(folder, str(base), rows, batch_size=256, max_length=512)
    command = [sys.executable, "-c", LITTLE_MEMORY, str(folder.path), "300"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    done = folder.read_done()
    assert ended.returncode == 1 and done is not None, ended.stderr
    found = re.search(
        r"out of memory with batch_size 256 and up to (\d+) tokens a row \(max_length 512\);"
        r" at most \d+\.\d GiB were held -> batch_size (\d+) fits \(tried on the longest rows\);"
        r" with gradient_accumulation (\d+) it learns the same",
        done.error,
    )
    assert found is not None, done.error
    tokens, fits, times = map(int, found.groups())
    assert 100 < tokens <= 512 and 1 <= fits < 256 and fits * times == 256


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

"""How fast and how lean does the local trainer train on a GPU, beside stock TRL?

    python -m benchmarks.gpu_check [--shape 1b 8b] [--steps 10] [--wheels DIR]

Models of 1 and 8 billion random weights, shaped like Llama, are made on the GPU; nothing is
downloaded. Both trainers tune the same adapter on the same rows (64 to 2,048 tokens, the last third
learned) in the same order: TRL's `SFTTrainer` with its defaults, and Retune's. It needs torch,
transformers, peft and accelerate, and for the comparison trl and datasets: wheels of what is missing
can be brought along in a folder. About five minutes on one H100.

Without a GPU it says so and ends well; `--shape tiny` runs the same code on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gpu_check.json"
TRAINERS = ("trl", "retune")
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 500},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128_256},
    "8b": {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "vocab_size": 128_256},
}
HEADS = {"tiny": (4, 2), "1b": (32, 8), "8b": (32, 8)}
LONGEST = {"tiny": 128, "1b": 2048, "8b": 2048}
BATCH, WARM_UP, SEED, RATE, R, ALPHA = 8, 3, 7, 1e-4, 16, 32
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""bfloat16 operations a second without sparsity, from NVIDIA's data sheets."""

Rows = list[tuple[list[int], list[bool]]]


def make_rows(shape: str, count: int) -> Rows:
    """Rows of random tokens, short ones more often than long ones."""
    rng = random.Random(SEED)
    longest, words = LONGEST[shape], SHAPES[shape]["vocab_size"]
    rows = []
    for _ in range(count):
        length = max(longest // 32, int(longest * rng.random() ** 1.5))
        ids = [rng.randrange(3, words) for _ in range(length)]
        rows.append((ids, [place >= length * 2 // 3 for place in range(length)]))
    return rows


def make_model(shape: str) -> Any:
    """The same random weights for both, in float32 as TRL loads a model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    heads, of_keys = HEADS[shape]
    config = LlamaConfig(
        **SHAPES[shape], num_attention_heads=heads, num_key_value_heads=of_keys, pad_token_id=0
    )
    set_seed(SEED)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return LlamaForCausalLM(config)


def make_tokenizer(shape: str) -> Any:
    """A tokenizer that TRL asks for its padding and nothing else."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def trl_trainer(shape: str, rows: Rows, folder: str, watch: Any) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    columns = {
        "input_ids": [ids for ids, _ in rows],
        "labels": [[i if mark else -100 for i, mark in zip(*row, strict=True)] for row in rows],
    }
    return SFTTrainer(
        model=make_model(shape),
        processing_class=make_tokenizer(shape),
        train_dataset=Dataset.from_dict(columns),
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=R, lora_alpha=ALPHA),
        callbacks=[watch],
        args=SFTConfig(
            output_dir=folder,
            max_length=None,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            logging_steps=1,
            save_strategy="no",
            seed=SEED,
            data_seed=SEED,
            report_to="none",
            disable_tqdm=True,
            **({} if cuda else {"use_cpu": True, "bf16": False}),
        ),
    )


def retune_trainer(shape: str, rows: Rows, folder: str, watch: Any) -> Any:
    """What `retune.training.run` builds, on rows that are tokens already."""
    from retune.training import adapter, batches, devices, hyperparameters, learning, lora, loss, probing
    from retune.training.tokens import TokenRows

    device = devices.find(1)
    given = hyperparameters.read(
        {"batch_size": BATCH, "epochs": 1, "learning_rate": RATE, "lora": {"r": R, "alpha": ALPHA}}
    )
    model = make_model(shape).to(device.base_dtype("lora"))
    tokens = TokenRows.make(rows)
    abilities = probing.probe(model, tokens, packing=False)
    loss.learn(model, abilities.simple_head)
    model = adapter.attach(model, given, None)
    lora.speed_up(model)
    recompute = devices.must_recompute(model, device, given, max(tokens.lengths)) or not device.cuda
    arguments = learning.arguments(
        Path(folder),
        given,
        SEED,
        examples=len(rows),
        eval_examples=1,
        **devices.arguments(device, "lora", recompute),
    )
    arguments.eval_strategy, arguments.save_strategy, arguments.logging_steps = "no", "no", 1
    examples = batches.examples(tokens, 1)
    collator = batches.Collator(tokens, abilities.in_one_line, 0)
    trainer = learning.trainer(model, arguments, collator, examples, callbacks=[watch])
    trainer.set_up(given.beta, collator)
    return trainer


def work(name: str, shape: str, steps: int) -> dict[str, Any]:
    """Train in this process; time and memory are those of the steps after the first few."""
    import torch
    from transformers import TrainerCallback

    cuda = torch.cuda.is_available()
    times: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    rows = make_rows(shape, BATCH * (steps + WARM_UP))
    with tempfile.TemporaryDirectory() as folder:
        make = trl_trainer if name == "trl" else retune_trainer
        trainer = make(shape, rows, folder, Watch())
        trainer.train()
    order = list(trainer._get_train_sampler(trainer.train_dataset))
    if len(order) != len(rows) or len(times) != steps + WARM_UP:
        raise SystemExit(f"{len(times)} steps on {len(order)} rows, not {steps + WARM_UP} on {len(rows)}")
    seconds = times[-1] - times[WARM_UP - 1]
    tokens = sum(len(ids) for ids, _ in rows) * steps / (steps + WARM_UP)
    weights = sum(w.numel() for n, w in trainer.model.named_parameters() if "embed" not in n)
    found = {
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "tokens_per_second": tokens / seconds,
        "weights": weights,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0,
        "device": torch.cuda.get_device_name() if cuda else "CPU",
    }
    peak = next((peak for part, peak in PEAKS.items() if part in found["device"]), None)
    # Frozen weights: forward and the gradient by the input, two operations a weight and token each.
    found["mfu"] = 4 * weights * found["tokens_per_second"] / peak if peak else None
    return found


def run(name: str, shape: str, steps: int, path: str) -> dict[str, Any]:
    """Train in a process of its own, so that memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--work", name, "--out", str(out)]
        ended = subprocess.run(
            [*command, "--shape", shape, "--steps", str(steps)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            raise SystemExit(ended.stdout + ended.stderr)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def install(wheels: Path, target: Path) -> None:
    """Install what is missing from a folder of wheels; the index is never asked."""
    missing = [name for name in ("accelerate", "datasets", "trl", "peft") if find_spec(name) is None]
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels)]
    if missing:
        subprocess.run([*command, "--no-deps", "--target", str(target), *missing], check=False)


Line = tuple[str, str, float, Callable[[float], bool], str]


def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield kind, name, figure, whether it will do, and what was wished."""
    for shape, found in results.items():
        ours, theirs = found["retune"], found.get("trl")
        yield "goal", f"{shape}: tokens/s", round(ours["tokens_per_second"]), lambda v: v > 0, "any"
        if ours["mfu"] is not None:
            yield "goal", f"{shape}: MFU", round(ours["mfu"], 3), lambda v: v > 0, "any"
        if theirs is None:
            continue
        times = round(ours["tokens_per_second"] / theirs["tokens_per_second"], 2)
        yield "goal", f"{shape}: times stock TRL's tokens/s", times, lambda v: v >= 2, "2"
        if theirs["peak_gib"]:
            share = round(ours["peak_gib"] / theirs["peak_gib"], 2)
            yield "goal", f"{shape}: share of stock TRL's memory", share, lambda v: v <= 0.5, "at most 0.5"
        apart = max(abs(a - b) / b for a, b in zip(ours["losses"], theirs["losses"], strict=True))
        yield "must", f"{shape}: apart from stock TRL's losses", round(apart, 4), lambda v: v <= 0.02, "0.02"


def figures(shapes: list[str], steps: int, wheels: Path | None) -> list[Line]:
    """Measure, keep the results, and return the lines to print."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(ROOT / "plugins"), folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        if wheels:
            install(wheels, Path(folder))
            sys.path.append(folder)
        if find_spec("accelerate") is None:
            raise SystemExit("accelerate is missing: bring its wheel along, --wheels DIR")
        peers = [
            name for name in TRAINERS if name == "retune" or (find_spec("trl") and find_spec("datasets"))
        ]
        if len(peers) == 1:
            print("trl or datasets is missing (--wheels DIR brings them along): no comparison")
        for shape in shapes:
            results[shape] = {name: run(name, shape, steps, path) for name in peers}
    if "tiny" not in shapes:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return list(lines(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["1b", "8b"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--work", choices=TRAINERS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.work:
        options.out.write_text(json.dumps(work(options.work, options.shape[0], options.steps)))
        return
    import torch

    if not torch.cuda.is_available() and "tiny" not in options.shape:
        print("no GPU: not run")
        return
    failed = []
    for kind, name, figure, will_do, wished in figures(options.shape, options.steps, options.wheels):
        word = "ok" if will_do(figure) else "FAILED" if kind == "must" else "SHORT"
        failed += [name] if word == "FAILED" else []
        print(f"{word:7}{kind:5} {name}: {figure:,} (wished: {wished})")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

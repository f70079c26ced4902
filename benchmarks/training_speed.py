"""How fast does the local trainer train, beside stock TRL?

    python -m benchmarks.training_speed [--runs 3] [--epochs 3]

Both train the same adapter, from the same first numbers, on the same rows in the same order, on a CPU
thread each, in turns: TRL's `SFTTrainer` with its defaults (bfloat16 off, as CPUs want it), and
Retune's trainer. What is timed is the training with its validations and checkpoints, not the start of
the process. The best of the runs counts, as other work on the machine only ever slows one down.

- `tickets`: the sample pipeline's rows, short and alike.
- `uneven`: the same tickets quoted at length, 30 to 450 tokens, as conversations are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retune.settings import Settings
from retune.spec import load_spec
from retune.testing import tiny_base
from retune.testing.first_dataset import first_dataset
from retune.text.conversations import Conversation, conversation, write_conversations

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training_speed.json"
SPEC = ROOT / "include" / "pipelines" / "support-tickets.yaml"
TRAINERS = ("trl", "retune")
SEED, BATCH, RATE, R, ALPHA, MAX_LENGTH = 7, 16, 5e-3, 8, 16, 512
UNEVEN_ROWS = 320


def write_inputs(folder: Path) -> None:
    """Write the base model and both data sets."""
    settings = Settings.load({"project": str(ROOT)}.get)
    spec = load_spec(SPEC)
    tiny_base.build(spec, settings, folder / "base", report=lambda line: None)
    sides = first_dataset(spec, settings).sides
    write_rows(folder / "tickets", sides["train"], sides["validation"])
    rng = random.Random(SEED)
    quoting = [quote(row, sides["train"], rng) for row in sides["train"][:UNEVEN_ROWS]]
    asking = [quote(row, sides["train"], rng) for row in sides["validation"]]
    write_rows(folder / "uneven", quoting, asking)


def write_rows(folder: Path, train: list[Conversation], validation: list[Conversation]) -> None:
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(write_conversations(train))
    (folder / "validation.jsonl").write_bytes(write_conversations(validation))


def quote(row: Conversation, others: list[Conversation], rng: random.Random) -> Conversation:
    """Return a row that quotes none to eleven other tickets above its own, mostly few."""
    quoted = [rng.choice(others).prompt for _ in range(int(rng.random() ** 2 * 12))]
    return conversation(row.messages[0].content, "\n".join([*quoted, row.prompt]), row.completion)


def train_with_trl(data: Path, base: Path, work: Path, epochs: int) -> float:
    """Train as TRL's documentation does it; return the last validation loss."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    rows = {side: read_rows(data / f"{side}.jsonl") for side in ("train", "validation")}
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    set_seed(SEED)
    lora = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", r=R, lora_alpha=ALPHA, lora_dropout=0.0
    )
    trainer = SFTTrainer(
        model=get_peft_model(model, lora),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=Dataset.from_list(rows["train"]),
        eval_dataset=Dataset.from_list(rows["validation"]),
        args=SFTConfig(
            output_dir=str(work),
            assistant_only_loss=True,
            max_length=MAX_LENGTH,
            num_train_epochs=epochs,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            seed=SEED,
            data_seed=SEED,
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    return float([entry for entry in trainer.state.log_history if "eval_loss" in entry][-1]["eval_loss"])


def train_with_retune(data: Path, base: Path, work: Path, epochs: int) -> float:
    """Run a job directory in this process; return the last validation loss."""
    from retune.training.__main__ import main as train
    from retune.training.job import JobFolder, TrainingJob

    folder = JobFolder(work)
    given = {
        "lora": {"r": R, "alpha": ALPHA, "dropout": 0.0},
        "epochs": epochs,
        "learning_rate": RATE,
        "batch_size": BATCH,
        "max_length": MAX_LENGTH,
        "patience": epochs,
    }
    paths = [str(data / f"{side}.jsonl") for side in ("train", "validation")]
    folder.write_job(TrainingJob(*paths, str(base), "base", given, SEED))
    if train([str(work)]):
        raise SystemExit((work / "done.json").read_text())
    return float([entry for entry in folder.read_progress() if "eval_loss" in entry][-1]["eval_loss"])


def read_rows(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [{"messages": [{"role": m["role"], "content": m["content"]} for m in turns]} for turns in rows]


def work(trainer: str, data: Path, base: Path, epochs: int) -> None:
    """Train in this process and print what it took."""
    import torch
    import transformers

    torch.set_num_threads(1)
    took: dict[str, float] = {}
    original = transformers.Trainer.train

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        result = original(self, *args, **kwargs)
        took.update(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - cpu)
        return result

    transformers.Trainer.train = timed  # type: ignore[method-assign]
    train = train_with_trl if trainer == "trl" else train_with_retune
    with tempfile.TemporaryDirectory() as folder:
        loss = train(data, base, Path(folder), epochs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"eval_loss": loss, "peak_mib": peak, **took}), file=sys.stderr)


def run(trainer: str, data: Path, base: Path, epochs: int) -> dict[str, float]:
    """Train in a process of its own."""
    options = ["--work", trainer, "--data", str(data), "--base", str(base), "--epochs", str(epochs)]
    # As the local backend sets it for its trainer: see backends/trainer_process.py.
    memory = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_speed", *options],
        capture_output=True,
        text=True,
        env=os.environ | memory | {"RETUNE_TRAINER_THREADS": "1", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    found: dict[str, float] = json.loads(ended.stderr.splitlines()[-1])
    return found


def tokens_of(data: Path, base: Path) -> int:
    """Tokens of the training side, without padding."""
    from transformers import AutoTokenizer

    rows = [row["messages"] for row in read_rows(data / "train.jsonl")]
    encoded = AutoTokenizer.from_pretrained(base).apply_chat_template(rows, tokenize=True, return_dict=True)
    return sum(len(ids) for ids in encoded["input_ids"])


def measure(runs: int = 3, epochs: int = 3) -> dict[str, Any]:
    """Return for each data set what both trainers took, their best run each."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder)
        write_inputs(inputs)
        for name in ("tickets", "uneven"):
            data, base = inputs / name, inputs / "base"
            took = [{trainer: run(trainer, data, base, epochs) for trainer in TRAINERS} for _ in range(runs)]
            tokens = tokens_of(data, base) * epochs
            results[name] = {"tokens": tokens}
            for trainer in TRAINERS:
                best = min((one[trainer] for one in took), key=lambda found: found["seconds"])
                results[name][trainer] = {
                    "tokens_per_second": round(tokens / best["seconds"]),
                    "cpu_seconds": round(min(one[trainer]["cpu_seconds"] for one in took), 2),
                    "peak_mib": round(best["peak_mib"]),
                    "eval_loss": round(best["eval_loss"], 4),
                }
    return results


Line = tuple[str, str, float, Callable[[float], bool], str]


def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield kind, name, figure, whether it will do, and what was wished."""
    for name in ("tickets", "uneven"):
        ours, theirs = results[name]["retune"], results[name]["trl"]
        times = round(ours["tokens_per_second"] / theirs["tokens_per_second"], 2)
        yield "goal", f"training, times stock TRL's tokens/s, {name}", times, lambda v: v >= 2, "2"
        cpu = round(theirs["cpu_seconds"] / ours["cpu_seconds"], 2)
        yield "goal", f"training, stock TRL's CPU time by ours, {name}", cpu, lambda v: v >= 2, "2"
        share = round(ours["peak_mib"] / theirs["peak_mib"], 2)
        yield (
            "goal",
            f"training, share of stock TRL's peak memory, {name}",
            share,
            lambda v: v <= 1,
            "at most 1",
        )
        apart = round(abs(ours["eval_loss"] - theirs["eval_loss"]), 4)
        yield (
            "must",
            f"training, apart from stock TRL's last loss, {name}",
            apart,
            lambda v: v <= 0.01,
            "0.01",
        )


def figures(runs: int = 3, epochs: int = 3) -> list[Line]:
    """Measure, keep the results, and return the lines to print."""
    results = measure(runs, epochs)
    kept = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, one thread",
        **results,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return list(lines(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--work", choices=TRAINERS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.data, options.base, options.epochs)
        return
    failed = []
    for kind, name, figure, will_do, wished in figures(options.runs, options.epochs):
        word = "ok" if will_do(figure) else "FAILED" if kind == "must" else "SHORT"
        failed += [name] if word == "FAILED" else []
        print(f"{word:7}{kind:5} {name}: {figure:,} (wished: {wished})")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""Supervised fine-tuning of a LoRA adapter with TRL, on the assistant's tokens only."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from retune.errors import BackendError
from retune.training import adapter, base, checkpoints, conversations, progress
from retune.training.job import JobFolder, TrainingJob


def train(folder: JobFolder, stopwatch: progress.Stopwatch) -> dict[str, float]:
    """Train the job of a directory into its `model/`, resuming from its last whole checkpoint.

    Args:
        folder: The job's directory.
        stopwatch: Times the progress.

    Returns:
        The final figures.

    Raises:
        BackendError: The job cannot be trained as it is.
    """
    import torch

    if not torch.cuda.is_available():
        # On a busy machine one thread beats two.
        torch.set_num_threads(int(os.environ.get("RETUNE_TRAINER_THREADS", "1")))
    job = folder.read_job()
    rows = {
        side: conversations.read(Path(path))
        for side, path in (("train", job.train), ("eval", job.validation))
    }
    trainer = _build(folder, job, rows, progress.writer(folder, stopwatch))
    conversations.check(trainer, rows, job.hyperparameters["max_length"])
    for name in checkpoints.delete_broken(folder.checkpoints):
        print(f"{name} is incomplete: deleted")
    resumed = checkpoints.last_whole(folder.checkpoints)
    print(f"resuming from {resumed.name}" if resumed else "starting from the base model")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    adapter.publish(trainer.model, folder.model, job.base_name)
    state = trainer.state
    return {
        "best_eval_loss": float(state.best_metric),
        "best_step": float(state.best_global_step),
        "steps": float(state.global_step),
    }


def _build(folder: JobFolder, job: TrainingJob, rows: dict[str, conversations.Rows], writer: Any) -> Any:
    """Return TRL's trainer with the tokenized rows."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import EarlyStoppingCallback
    from trl import SFTTrainer  # type: ignore[attr-defined, unused-ignore]

    cuda = torch.cuda.is_available()
    half = cuda and torch.cuda.is_bf16_supported()
    tokenizer = base.load_tokenizer(job.base_model, job.base_revision)
    model = base.load_model(job.base_model, job.base_revision, torch.bfloat16 if half else torch.float32)
    given = job.hyperparameters
    lora = given["lora"]
    try:
        return SFTTrainer(
            model=model,
            args=_arguments(folder, job, len(rows["train"]), len(rows["eval"]), cuda=cuda, half=half),
            train_dataset=Dataset.from_list(rows["train"]),
            eval_dataset=Dataset.from_list(rows["eval"]),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                task_type="CAUSAL_LM",
                target_modules="all-linear",
                r=lora["r"],
                lora_alpha=lora["alpha"],
                lora_dropout=lora["dropout"],
            ),
            callbacks=[EarlyStoppingCallback(given["patience"]), writer],
        )
    except (RuntimeError, ValueError) as error:
        if "template" not in str(error):
            raise
        raise BackendError(
            f"the chat template of {job.base_model} does not say which tokens are the assistant's: {error}",
            "put the assistant's turns and their end token between {% generation %} and {% endgeneration %}",
        ) from error


def _arguments(
    folder: JobFolder, job: TrainingJob, rows: int, eval_rows: int, *, cuda: bool, half: bool
) -> Any:
    from trl import SFTConfig  # type: ignore[attr-defined, unused-ignore]

    given = job.hyperparameters
    batches, eval_batches = (math.ceil(count / given["batch_size"]) for count in (rows, eval_rows))
    every = _evaluation_interval(batches * given["epochs"], given["epochs"], eval_batches)
    return SFTConfig(
        output_dir=str(folder.checkpoints),
        assistant_only_loss=True,
        max_length=None,  # nothing is cut: longer conversations are refused
        packing=False,
        num_train_epochs=given["epochs"],
        learning_rate=given["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        per_device_train_batch_size=given["batch_size"],
        per_device_eval_batch_size=given["batch_size"],
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        # Else a resumed training would forget how long it has waited for a better loss.
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, min(10, every // 2)),
        logging_nan_inf_filter=False,
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=not cuda,
        bf16=half,
        gradient_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        report_to="none",
        disable_tqdm=True,
    )


def _evaluation_interval(steps: int, epochs: int, eval_batches: int) -> int:
    """Return after how many steps the validation loss is measured and a checkpoint written.

    After each epoch; in long epochs more often, as long as it costs about a tenth of the time (a
    validation batch costs a third of a training step). The last one falls on the end.
    """
    evaluations = max(epochs, math.ceil(steps / max(500, 4 * eval_batches)))
    return steps // evaluations

"""The training loop: the Hugging Face Trainer's, with Retune's batches, loss and validation.

Its checkpoints, resumption, schedules and distribution are used as they are. Its ways of computing a
loss and of validating are not: see `retune.training.loss`.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retune.training import loss
from retune.training.batches import Collator, Example
from retune.training.hyperparameters import Hyperparameters


class Learning:
    """What is Retune's in the Trainer: mixed into it by `trainer`."""

    model: Any
    args: Any
    state: Any
    control: Any
    accelerator: Any
    callback_handler: Any
    eval_dataset: Any
    # The loss is divided by the counts of all batches that make one step.
    loss_is_scaled_for_ga = True

    def set_up(self, beta: float, validation: Collator) -> None:
        """Say what is minimised, and what is validated on."""
        self.beta = beta
        self.validation = validation
        self.tokens = 0

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: Any
    ) -> tuple[Any, Any]:
        """Return a step's batches, and the counts of all processes that its loss is divided by."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        self.tokens += sum(batch["input_ids"].numel() for batch in batches)
        total: Any = sum(loss.counts(batch) for batch in batches)
        return batches, self.accelerator.reduce(total.to(device), "sum")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return a batch's share of its step's loss; the gradients of processes are averaged later."""
        found, _ = loss.sums(model, inputs, self.beta)
        return (found / num_items_in_batch).sum() * self.accelerator.num_processes

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure the loss on the validation side, the same however it is cut into batches."""
        import torch

        self.model.eval()
        total = torch.zeros(3, dtype=torch.float64)
        for batch, counted in self._validation_batches():
            with torch.no_grad():
                found, correct = loss.sums(self.model, batch, self.beta)
            numbers = [*found.tolist(), 0.0][:2] + [float(correct)]
            total += torch.tensor(numbers, dtype=torch.float64) * counted
        total = self.accelerator.reduce(total.to(self.args.device), "sum").cpu()
        metrics = self._measures(total)
        self.log(metrics)  # type: ignore[attr-defined]
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measures(self, total: Any) -> dict[str, float]:
        """Return the measures for the sums over the validation side."""
        rows = self.validation.rows
        if self.validation.reference is None:
            tokens = sum(int(rows.row(number)[1][1:].sum()) for number in range(len(rows)))
            return {
                "eval_loss": float(total[0]) / tokens,
                "eval_mean_token_accuracy": float(total[2]) / tokens,
            }
        pairs = len(rows) // 2
        better = sum(int(rows.row(number)[1][1:].sum()) for number in range(0, len(rows), 2))
        return {
            "eval_loss": float(total[0]) / pairs + float(total[1]) / better,
            "eval_preference_accuracy": float(total[2]) / pairs,
        }

    def _validation_batches(self) -> Iterator[tuple[Any, int]]:
        """Yield this process's batches, and 0 for one that only keeps the processes in step."""
        size = self.args.per_device_eval_batch_size
        # Rows of like length stand together, where they are padded least.
        lengths = self.validation.rows.lengths
        ordered = sorted(self.eval_dataset, key=lambda example: sum(lengths[row] for row in example))
        batches = [ordered[first : first + size] for first in range(0, len(ordered), size)]
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        for first in range(0, len(batches), world):
            place = first + rank
            batch = self.validation(batches[min(place, len(batches) - 1)])
            yield self._prepare_inputs(batch), int(place < len(batches))  # type: ignore[attr-defined]

    def floating_point_ops(self, inputs: Any) -> int:
        """Count nothing: the Trainer's estimate walks over all modules at every step."""
        return 0


def trainer(model: Any, arguments: Any, train: Collator, examples: Sequence[Example], **given: Any) -> Any:
    """Return the Trainer; `set_up` it before it trains.

    Args:
        model: Taught by `loss.learn`.
        arguments: From `arguments`.
        train: Makes the training side's batches.
        examples: What they are made of.
        given: Passed on: callbacks, the tokenizer.
    """
    from transformers import Trainer

    class RetuneTrainer(Learning, Trainer):  # type: ignore[misc, unused-ignore]
        pass

    return RetuneTrainer(
        model=model, args=arguments, train_dataset=list(examples), data_collator=train, **given
    )


def arguments(
    output: Path, given: Hyperparameters, seed: int, *, examples: int, eval_examples: int, **device: Any
) -> Any:
    """Return the Trainer's arguments.

    Args:
        output: Where checkpoints go.
        given: The job's hyperparameters.
        seed: Of the order and the dropout.
        examples: Examples of the training side, packed ones counted once.
        eval_examples: Of the validation side.
        device: What depends on where it runs, see `retune.training.devices`.
    """
    from transformers import TrainingArguments

    world = int(os.environ.get("WORLD_SIZE", "1"))
    batches = math.ceil(math.ceil(examples / given.batch_size) / world)
    steps = math.ceil(batches / given.gradient_accumulation)
    eval_batches = math.ceil(eval_examples / given.batch_size / world)
    every = evaluation_interval(steps * given.epochs, given.epochs, eval_batches)
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=given.epochs,
        learning_rate=given.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        per_device_train_batch_size=given.batch_size,
        per_device_eval_batch_size=given.batch_size,
        gradient_accumulation_steps=given.gradient_accumulation,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        # Else a resumed training would forget how long it has waited for a better loss.
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, min(10, every // 2)),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        seed=seed,
        data_seed=seed,
        report_to="none",
        disable_tqdm=True,
        **device,
    )


def evaluation_interval(steps: int, epochs: int, eval_batches: int) -> int:
    """Return after how many steps the validation loss is measured and a checkpoint written.

    After each epoch; in long epochs more often, as long as it costs about a tenth of the time (a
    validation batch costs a third of a training step). The last one falls on the end.
    """
    evaluations = max(epochs, math.ceil(steps / max(500, 4 * eval_batches)))
    return max(1, steps // evaluations)

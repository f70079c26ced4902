"""One job, from its rows to its model: what can be refused is refused before the model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retune.errors import BackendError
from retune.training import (
    adapter,
    base,
    batches,
    checkpoints,
    devices,
    hyperparameters,
    learning,
    lora,
    loss,
    memory,
    outcome,
    parity,
    probing,
    processes,
    progress,
    reference,
    tokens,
)
from retune.training.batches import Collator, Example
from retune.training.devices import Device
from retune.training.hyperparameters import Hyperparameters
from retune.training.job import JobFolder, TrainingJob


@dataclass(frozen=True)
class _Run:
    """A job with all that is known before its model is loaded."""

    folder: JobFolder
    job: TrainingJob
    given: Hyperparameters
    device: Device
    tokenizer: Any
    rows: dict[str, tokens.TokenRows]


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
    run = _prepare(folder)
    processes.start_others(folder, run.job)
    model, abilities = _load(run)
    start = _start_of(model, run.given)
    trainer = _trainer(run, model, abilities, stopwatch)
    if processes.is_first():
        for name in checkpoints.delete_broken(folder.checkpoints):
            print(f"{name} is incomplete: deleted")
    processes.wait_for_all()
    resumed = checkpoints.last_whole(folder.checkpoints)
    print(f"resuming from {resumed.name}" if resumed else "starting from the base model")
    _learn(trainer, run, str(resumed) if resumed else None)
    if processes.is_first():
        _publish(run, trainer, model, start)
    return _figures(trainer, stopwatch)


def kind_of(job: TrainingJob) -> Any:
    """Return what a job's `model/` will hold: an adapter, or weights."""
    return "weights" if job.hyperparameters.get("tuning") == "full" else "adapter"


def _prepare(folder: JobFolder) -> _Run:
    """Check the job and make its tokens: the tokenizer is all that is loaded."""
    job = folder.read_job()
    given = hyperparameters.read(job.hyperparameters)
    tokenizer = base.load_tokenizer(job.base_model, job.base_revision)
    if job.warm_start:
        adapter.check_start(job.warm_start, job.base_name, given)
    rows = tokens.prepare(folder, job, tokenizer, given.max_length)
    device = devices.find(job.processes)
    if given.tuning == "qlora":
        base.refuse_qlora_without(device.cuda)
    return _Run(folder, job, given, device, tokenizer, rows)


def _load(run: _Run) -> tuple[Any, probing.Abilities]:
    """Load the model, with its adapter."""
    from transformers import set_seed

    job, given, dtype = run.job, run.given, run.device.base_dtype(run.given.tuning)
    try:
        model = base.load_model(job.base_model, job.base_revision, dtype, given.tuning == "qlora")
        if run.device.cuda and run.device.processes == 1 and given.tuning != "qlora":
            model.to("cuda")
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out_of_memory(error):
            raise
        what = f"out of memory: base model {job.base_model} does not even fit without a training"
        raise BackendError(what, "choose a smaller base model, or tuning qlora on a GPU") from error
    abilities = probing.probe(model, run.rows["train"], given.packing)
    loss.learn(model, abilities.simple_head)
    if given.tuning == "qlora":
        import peft

        library: Any = peft
        model = library.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if given.tuning != "full":
        set_seed(job.seed)  # a new adapter begins with random numbers
        model = adapter.attach(model, given, job.warm_start)
        lora.speed_up(model)
    return model, abilities


def _trainer(run: _Run, model: Any, abilities: probing.Abilities, stopwatch: progress.Stopwatch) -> Any:
    from transformers import EarlyStoppingCallback

    given, rows = run.given, run.rows
    rows_each = 2 if run.job.method == "dpo" else 1
    pad = run.tokenizer.pad_token_id
    collators = {
        side: Collator(rows[side], abilities.in_one_line, 0 if pad is None else pad) for side in tokens.SIDES
    }
    if run.job.method == "dpo":
        collators = reference.add(run.folder, model, collators, given)
    found = {side: batches.examples(rows[side], rows_each) for side in tokens.SIDES}
    if given.packing:
        lengths = rows["train"].lengths
        found["train"] = batches.pack(found["train"], lengths, given.max_length * rows_each, run.job.seed)
    longest = max(sum(rows["train"].lengths[row] for row in example) for example in found["train"])
    recompute = devices.must_recompute(model, run.device, given, longest)
    arguments = learning.arguments(
        run.folder.checkpoints,
        given,
        run.job.seed,
        examples=len(found["train"]),
        eval_examples=len(found["validation"]),
        **devices.arguments(run.device, given.tuning, recompute),
    )
    trainer = learning.trainer(
        model,
        arguments,
        collators["train"],
        found["train"],
        eval_dataset=found["validation"],
        processing_class=run.tokenizer,
        callbacks=[EarlyStoppingCallback(given.patience), progress.writer(run.folder, stopwatch)],
    )
    trainer.set_up(given.beta, collators["validation"])
    return trainer


def _learn(trainer: Any, run: _Run, resumed: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=resumed)
        return
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out_of_memory(error):
            raise
        memory.forget(error)
    examples: list[Example] = trainer.train_dataset
    model = trainer.accelerator.unwrap_model(trainer.model)
    trainer.optimizer = None
    raise memory.advice(model, trainer.data_collator, examples, run.given)


def _start_of(model: Any, given: Hyperparameters) -> outcome.Fingerprint:
    from peft import get_peft_model_state_dict

    state = model.state_dict() if given.tuning == "full" else get_peft_model_state_dict(model)
    return outcome.fingerprint(state.items())


def _publish(run: _Run, trainer: Any, model: Any, start: outcome.Fingerprint) -> None:
    from transformers import AutoConfig

    best = run.folder.checkpoints / f"checkpoint-{trainer.state.best_global_step}"
    if run.given.tuning != "full":
        outcome.publish_adapter(best, run.folder.model, run.job.base_name, start)
        _record_parity(run, model)
        return
    config = AutoConfig.from_pretrained(run.job.base_model, revision=run.job.base_revision)
    dtype = config.get_text_config().dtype or model.dtype
    outcome.publish_weights(best, run.folder.model, run.tokenizer, dtype, start)


def _record_parity(run: _Run, model: Any) -> None:
    """Leave what a server is compared with beside the adapter; the model trains no more."""
    unanswered = ""
    if run.given.tuning == "qlora":
        unanswered = "the trainer's base model has four bits, which answer otherwise than the server's"
    elif run.device.cuda and run.device.processes > 1:
        unanswered = "it was trained on several GPUs, none of which held the whole model"
    else:
        parity.use_best(model, run.folder.model)
    found = parity.record(
        model, run.tokenizer, run.job, run.rows["validation"], run.given.max_length, unanswered
    )
    parity.write(found, run.folder.model)


def _figures(trainer: Any, stopwatch: progress.Stopwatch) -> dict[str, float]:
    state = trainer.state
    return {
        "best_eval_loss": float(state.best_metric),
        "best_step": float(state.best_global_step),
        "steps": float(state.global_step),
        "peak_memory_gib": round(memory.peak_gib(), 3),
    }

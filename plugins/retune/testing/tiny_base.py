"""A tiny base model made on the spot, where no hub can be reached.

It is a Qwen2 of half a million weights that has seen the training side's prompts with random
labels: it knows the format of an answer and nothing of the task. So it is a fair baseline, and
fine-tuning it takes seconds on a CPU.

`python -m retune.testing.tiny_base SPEC OUTPUT [STEPS]`
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from retune.artifacts import canonical_json, digest_of_json
from retune.errors import DataError
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec
from retune.testing.first_dataset import first_dataset
from retune.text.conversations import Conversation, Message

STEPS = 200
BATCH = 16
VOCABULARY = 2048
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
LEARNING_RATE = 3e-3
MARK = "tiny_base.json"
END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# The generation block marks what `assistant_only_loss` learns from.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def training_side(spec: PipelineSpec, settings: Settings) -> list[Conversation]:
    """Return the examples that the pipeline's first dataset will train on.

    Raises:
        DataError: The sources cannot be read, or leave nothing to train on.
    """
    if not (rows := first_dataset(spec, settings).sides["train"]):
        raise DataError("no example is left to train on", f"see `retune check` for {spec.pipeline}")
    return rows


def pretraining_chats(rows: list[Conversation], seed: int) -> Iterator[list[Message]]:
    """Yield, without end, the rows' questions in random order, each with a random label."""
    rng = random.Random(seed)
    labels = sorted({row.completion for row in rows})
    while True:
        for row in rng.sample(rows, len(rows)):
            yield [*row.context, Message(role="assistant", content=rng.choice(labels))]


def build(
    spec: PipelineSpec,
    settings: Settings,
    output: Path,
    steps: int = STEPS,
    report: Callable[[str], None] = print,
) -> None:
    """Make the base model as a Hugging Face folder; does nothing where it is there already.

    Args:
        spec: Whose training side is read.
        settings: Where the spec's sources lie.
        output: The folder to make; it appears whole or not at all.
        steps: Batches of 16 chats to pretrain on; 200 take about 30 s on one thread.
        report: Takes a line of progress.

    Raises:
        DataError: The sources cannot be read.
    """
    rows = training_side(spec, settings)
    texts = [[row.id, *(turn.content for turn in row.context)] for row in rows]
    inputs = digest_of_json([texts, spec.seed, steps, BATCH, VOCABULARY, SIZES, LEARNING_RATE, CHAT_TEMPLATE])
    mark = output / MARK
    if mark.is_file() and json.loads(mark.read_text())["inputs"] == inputs:
        report(f"the base model {output} is up to date")
        return
    partial = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    try:
        tokenizer = _tokenizer(rows)
        model = _pretrained(tokenizer, rows, spec.seed, steps, report)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / MARK).write_bytes(canonical_json({"inputs": inputs}))
        if output.exists():
            output.rename(partial.with_suffix(".old"))
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(partial.with_suffix(".old"), ignore_errors=True)
    report(f"made the base model {output}: {model.num_parameters():,} weights")


def _tokenizer(rows: list[Conversation]) -> Any:
    import transformers
    from tokenizers import pre_tokenizers, trainers

    # Libraries rebuild a Qwen2 tokenizer around vocabulary and merges: another way of cutting words
    # would be trained with here and silently dropped by the server.
    qwen2: Any = transformers.Qwen2Tokenizer
    backend = qwen2().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, TURN, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((turn.content for row in rows for turn in row.messages), trainer)
    learnt = json.loads(backend.to_str())["model"]
    merges = [tuple(merge) for merge in learnt["merges"]]
    return qwen2(
        vocab=learnt["vocab"],
        merges=merges,
        eos_token=TURN_END,
        pad_token=END,
        extra_special_tokens=[TURN],
        chat_template=CHAT_TEMPLATE,
    )


def _pretrained(
    tokenizer: Any, rows: list[Conversation], seed: int, steps: int, report: Callable[[str], None]
) -> Any:
    import torch
    import transformers

    library: Any = transformers  # its classes carry no usable types
    torch.set_num_threads(1)  # quicker than two on a busy machine, and bit for bit the same each time
    torch.manual_seed(seed)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = library.Qwen2Config(vocab_size=len(tokenizer), **SIZES, **ends)
    model = library.Qwen2ForCausalLM(config)
    model.generation_config = library.GenerationConfig(**ends)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    chats = pretraining_chats(rows, seed)
    model.train()
    for step in range(1, steps + 1):
        texts = [
            tokenizer.apply_chat_template([turn.to_json() for turn in next(chats)], tokenize=False)
            for _ in range(BATCH)
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=256)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps:
            report(f"base model: step {step} of {steps}, loss {loss.item():.2f}")
    return model.eval()


def main() -> None:
    """Build from the command line."""
    spec, output, *rest = sys.argv[1:]
    build(load_spec(Path(spec)), Settings.load(), Path(output), steps=int(rest[0]) if rest else STEPS)


if __name__ == "__main__":
    main()

"""A truly tiny job: a Qwen2 of hidden 32 that never saw a text, a few rows, a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts, digest_of, digest_of_tree
from retune.backends.base import Installation
from retune.backends.jobs import Site
from retune.records import Artifact, Dataset, Recipe, Split
from retune.settings import Connections, EnvironmentConnections, Settings
from retune.state.database import Database

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BASE = "include/base"
LABELS = ("billing", "shipping", "returns", "account")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HYPERPARAMETERS: dict[str, Any] = {
    "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
    "epochs": 4,
    "learning_rate": 5e-3,
    "batch_size": 4,
    "max_length": 128,
    "patience": 4,
}


def make_base(folder: Path, template: str | None = TEMPLATE) -> Path:
    """Write an untrained Qwen2 with a byte-level tokenizer; takes a second once torch is loaded."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([row["messages"][0]["content"] for row in make_rows(40)], trainer)
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **ends)
    tokenizer.chat_template = template
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """Return conversations whose label can be learned from one word."""
    rows = []
    for number in range(offset, offset + count):
        label = LABELS[number % len(LABELS)]
        prompt = f"Ticket {number}: please help me with my {label} question"
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": label}]
        rows.append({"id": digest_of(prompt.encode()).removeprefix("sha256:"), "messages": turns})
    return rows


def write_rows(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@dataclass(frozen=True)
class Bench:
    """An installation with a tiny base model and a dataset."""

    settings: Settings
    db: Database
    artifacts: Artifacts
    connections: Connections = field(default_factory=EnvironmentConnections)

    @property
    def installation(self) -> Installation:
        return Installation(self.settings, self.artifacts, self.connections)

    def site(self, report: Callable[[str], None] = print) -> Site:
        return Site(self.installation, self.db, report)

    def dataset(self, train: int = 16, validation: int = 4) -> Dataset:
        sides = {"train": (train, 0), "validation": (validation, 1000), "held_out": (2, 2000)}
        splits = {
            side: Split(
                artifact=self.artifacts.put_bytes(write_rows(make_rows(count, offset)), "application/jsonl"),
                rows=count,
            )
            for side, (count, offset) in sides.items()
        }
        return Dataset(
            spec_digest=digest_of(b"spec"),
            pipeline="tiny",
            digest=digest_of(f"{train} {validation}".encode()),
            sources={},
            rows_read=train + validation,
            dropped={},
            validation_page=Artifact(digest=digest_of(b"page"), uri="file:///page", size=4),
            **splits,
        )

    def recipe(self, **changed: Any) -> Recipe:
        folder = self.settings.resolve(BASE)
        return Recipe(
            spec_digest=digest_of(b"spec"),
            index=0,
            backend="local",
            base_model=BASE,
            base_digest=digest_of_tree(folder) if folder.is_dir() else digest_of(b"none"),
            chat_template_digest=digest_of(TEMPLATE.encode()),
            method="sft",
            hyperparameters=HYPERPARAMETERS | changed,
            seed=7,
            trainer="trl 1",
        )


def make_bench(project: Path) -> Bench:
    """Make an installation in a folder; its base model goes to `include/base`."""
    options = {"project": str(project)}
    settings = Settings.load(options.get)
    db = Database(settings.state_url)
    db.migrate()
    return Bench(settings, db, Artifacts(settings.artifacts_url))

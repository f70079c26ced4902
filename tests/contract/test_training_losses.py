"""What the trainer minimises: TRL's losses, on rows that never see each other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from retune.training import adapter, base, batches, hyperparameters, lora, loss, probing, reference, tokens
from retune.training.batches import Collator
from tests.tuning import LABELS, TEMPLATE, make_base, make_rows

TOLERANCE = 2e-5
# TRL's DPO learns all that follows the question: no line feed may follow the answer.
BARE = TEMPLATE.replace("{{ '\\n' }}{% endfor %}", "{% endfor %}")


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base", BARE)


@pytest.fixture(scope="module")
def tokenizer(base_folder: Path) -> Any:
    return base.load_tokenizer(str(base_folder), None)


def rows_of(count: int, method: str = "sft") -> list[Any]:
    """Rows of uneven length; a preference prefers the right label to another."""
    rows = [{"messages": row["messages"]} for row in make_rows(count)]
    for number, row in enumerate(rows):
        row["messages"][0]["content"] += " please" * (number % 5)
        if method == "dpo":
            row["rejected"] = [{"role": "assistant", "content": LABELS[(number + 1) % len(LABELS)]}]
    return rows


def token_rows(tokenizer: Any, count: int, method: str = "sft") -> tokens.TokenRows:
    return tokens.tokenize(rows_of(count, method), tokenizer, BARE)


def adapted(folder: Path, **given: Any) -> Any:
    """A model whose adapter already does something, as gradients of A are zero while B is."""
    model = adapter.attach(
        base.load_model(str(folder), None, torch.float32), hyperparameters.read(given), None
    )
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def ready(folder: Path, rows: tokens.TokenRows, *, quick: bool = True) -> Any:
    """The same model as the trainer prepares it."""
    model = adapted(folder)
    bare = model.get_base_model()
    found = probing.probe(bare, rows, packing=True)
    assert found == probing.Abilities(in_one_line=True, simple_head=True)
    loss.learn(bare, found.simple_head)
    if quick:
        assert lora.speed_up(model) == 7  # a layer's linear maps
    return model


def gradients(model: Any) -> dict[str, Any]:
    return {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


def one_by_one(model: Any, rows: tokens.TokenRows, numbers: list[int]) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of rows that are alone, through the model's own forward pass."""
    model.zero_grad()
    total = torch.zeros(())
    for number in numbers:
        ids, learned = rows.row(number)
        labels = ids.long().masked_fill(~learned, -100)
        logits = model(ids.long()[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum")
    total.backward()
    return total.item(), gradients(model)


def together(model: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    model.zero_grad()
    found, _ = loss.sums(model, batch, 0.1)
    found.sum().backward()
    return found.sum().item(), gradients(model)


def differences(first: tuple[float, dict[str, Any]], second: tuple[float, dict[str, Any]]) -> float:
    """The largest difference of losses or gradients, by their size."""
    found = [abs(first[0] - second[0]) / abs(second[0])]
    for name, gradient in second[1].items():
        found.append(float((first[1][name] - gradient).abs().max() / gradient.abs().max()))
    return max(found)


def packed(rows: tokens.TokenRows) -> list[batches.Example]:
    packs = batches.pack(batches.examples(rows, 1), rows.lengths, 300, seed=7)
    assert max(len(pack) for pack in packs) >= 4
    return packs


def test_packed_rows_learn_what_they_would_learn_alone(base_folder: Path, tokenizer: Any) -> None:
    rows = token_rows(tokenizer, 24)
    alone, quick = adapted(base_folder), ready(base_folder, rows)
    for pack in packed(rows):
        batch = Collator(rows, True, 0)([pack])
        assert differences(together(quick, batch), one_by_one(alone, rows, list(pack))) < TOLERANCE


def test_a_planted_leak_is_seen(base_folder: Path, tokenizer: Any) -> None:
    from retune.training import attention

    rows = token_rows(tokenizer, 24)
    alone, quick = adapted(base_folder), ready(base_folder, rows)
    pack = packed(rows)[0]
    batch = Collator(rows, True, 0)([pack])
    batch["blocks"] = attention.blocks([sum(rows.lengths[row] for row in pack)])
    assert differences(together(quick, batch), one_by_one(alone, rows, list(pack))) > 1000 * TOLERANCE


def test_padded_rows_learn_what_they_would_learn_alone(base_folder: Path, tokenizer: Any) -> None:
    rows = token_rows(tokenizer, 12)
    alone, model = adapted(base_folder), adapted(base_folder)
    loss.learn(model.get_base_model(), simple_head=False)
    batch = Collator(rows, False, 0)([(row,) for row in range(12)])
    assert differences(together(model, batch), one_by_one(alone, rows, list(range(12)))) < TOLERANCE


def test_a_large_vocabulary_is_read_in_parts(
    base_folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = token_rows(tokenizer, 12)
    alone, quick = adapted(base_folder), ready(base_folder, rows)
    monkeypatch.setattr(loss, "_LOGITS_AT_ONCE", 7 * 300)
    batch = Collator(rows, True, 0)([(row,) for row in range(12)])
    assert differences(together(quick, batch), one_by_one(alone, rows, list(range(12)))) < TOLERANCE


def test_activations_computed_twice_are_the_same(base_folder: Path, tokenizer: Any) -> None:
    rows = token_rows(tokenizer, 12)
    alone, quick = adapted(base_folder), ready(base_folder, rows)
    quick.gradient_checkpointing_enable({"use_reentrant": False})
    quick.train()
    batch = Collator(rows, True, 0)([(row,) for row in range(12)])
    assert differences(together(quick, batch), one_by_one(alone, rows, list(range(12)))) < TOLERANCE


def test_a_trained_head_gets_its_gradient(base_folder: Path, tokenizer: Any) -> None:
    rows = token_rows(tokenizer, 12)
    alone = base.load_model(str(base_folder), None, torch.float32)
    model = copy.deepcopy(alone)
    loss.learn(model, simple_head=True)
    batch = Collator(rows, False, 0)([(row,) for row in range(12)])
    assert differences(together(model, batch), one_by_one(alone, rows, list(range(12)))) < TOLERANCE


def test_a_model_that_hides_where_rows_begin_is_not_packed(base_folder: Path, tokenizer: Any) -> None:
    from retune.errors import BackendError

    rows = token_rows(tokenizer, 8)
    model = base.load_model(str(base_folder), None, torch.float32)
    original = model.forward
    model.forward = lambda *args, blocks=None, **kwargs: original(*args, **kwargs)
    with pytest.raises(BackendError, match="cannot train on packed rows.* -> set packing: false"):
        probing.probe(model, rows, packing=True)
    assert not probing.probe(model, rows, packing=False).in_one_line
    assert model(torch.tensor([[1, 2, 3]])).logits.shape[1] == 3  # it attends as before


@pytest.mark.parametrize(("name", "value"), [("sliding_window", 20), ("attn_logit_softcapping", 50.0)])
def test_attention_that_blocks_cannot_do_rules_them_out(
    base_folder: Path, tokenizer: Any, name: str, value: float
) -> None:
    rows = token_rows(tokenizer, 8)
    model = base.load_model(str(base_folder), None, torch.float32)
    setattr(model.config, name, value)
    model.config.use_sliding_window = True
    assert not probing.probe(model, rows, packing=False).in_one_line


def trl_arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": None,
    }


def test_the_loss_is_that_of_trls_supervised_fine_tuning(
    base_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = rows_of(8)
    theirs = SFTTrainer(
        model=adapted(base_folder),
        args=SFTConfig(assistant_only_loss=True, **trl_arguments(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = theirs.data_collator([theirs.train_dataset[number] for number in range(8)])
    theirs.model.zero_grad()
    expected = theirs.compute_loss(theirs.model, dict(batch))
    expected.backward()

    ours = token_rows(tokenizer, 8)
    model = ready(base_folder, ours)
    made = Collator(ours, True, 0)([(row,) for row in range(8)])
    found, _ = loss.sums(model, made, 0.1)
    share = (found / loss.counts(made)).sum()
    share.backward()
    assert (
        differences((share.item(), gradients(model)), (expected.item(), gradients(theirs.model))) < TOLERANCE
    )


def test_the_loss_is_that_of_trls_preference_optimisation(
    base_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = rows_of(8, "dpo")
    pairs = [
        {"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": row["rejected"]}
        for row in rows
    ]
    theirs = DPOTrainer(
        model=adapted(base_folder),
        args=DPOConfig(loss_type=["sigmoid", "sft"], beta=0.3, **trl_arguments(tmp_path)),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )
    nudge(theirs.model)
    batch = theirs.data_collator([theirs.train_dataset[number] for number in range(8)])
    theirs.model.zero_grad()
    expected = theirs.compute_loss(theirs.model, dict(batch))
    expected.backward()

    ours = token_rows(tokenizer, 8, "dpo")
    model = ready(base_folder, ours)
    collator = Collator(ours, True, 0)
    numbers = reference.measure(model, collator, batch_size=3)
    nudge(model)
    made = Collator(ours, True, 0, numbers)([(2 * row, 2 * row + 1) for row in range(8)])
    model.train()
    found, _ = loss.sums(model, made, 0.3)
    share = (found / loss.counts(made)).sum()
    share.backward()
    assert (
        differences((share.item(), gradients(model)), (expected.item(), gradients(theirs.model))) < TOLERANCE
    )


def nudge(model: Any) -> None:
    """Move an adapter away from the reference, else DPO's loss is log 2 whatever the beta."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name and weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)

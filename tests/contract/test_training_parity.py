"""What the trainer leaves for a server to be compared with, by a real model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retune.training import adapter, attention, base, parity, tokens
from retune.training.job import TrainingJob
from tests.tuning import TEMPLATE, make_base, make_rows, write_rows


class Bench:
    """A base model with a random adapter, and a job."""

    def __init__(self, folder: Path, template: str = TEMPLATE) -> None:
        self.folder = folder
        self.base = make_base(folder / "base", template)
        rows = make_rows(4)
        (folder / "validation.jsonl").write_bytes(write_rows(rows))
        self.job = TrainingJob(
            train="",
            validation=str(folder / "validation.jsonl"),
            base_model=str(self.base),
            base_name="tiny",
            hyperparameters={},
            seed=7,
        )
        self.tokenizer = base.load_tokenizer(str(self.base), None)
        self.rows = tokens.tokenize(rows, self.tokenizer, template)

    def model(self, seed: int = 0) -> Any:
        import peft
        import torch

        torch.manual_seed(seed)
        library: Any = peft
        config = library.LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", r=4, lora_alpha=64, init_lora_weights=False
        )
        return library.get_peft_model(base.load_model(str(self.base), None, torch.float32), config).eval()

    def record(self, model: Any, max_length: int = 128, unanswered: str = "") -> parity.ParityRecord:
        return parity.record(model, self.tokenizer, self.job, self.rows, max_length, unanswered)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    import torch

    torch.set_num_threads(1)  # as the trainer has it on a CPU
    return Bench(tmp_path_factory.mktemp("bench"))


def test_the_record_holds_what_transformers_says_by_itself(bench: Bench) -> None:
    import torch

    model = bench.model()
    found = bench.record(model)
    assert len(found.probes) == 8
    assert (found.end_text, found.as_trained, found.precision) == ("<|im_end|>", True, "float32")
    assert found.libraries["tokenizers"]
    for probe in found.probes:
        rendered = bench.tokenizer.apply_chat_template(
            probe.messages, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        assert probe.prompt == rendered["input_ids"]
        assert len(probe.tokens) == len(probe.prompt)
        assert probe.answer is not None
        given = torch.tensor([probe.prompt])
        made = model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=16
        )
        assert probe.answer.ids == made[0, len(probe.prompt) :].tolist()
        assert probe.answer.ended == (probe.answer.ids[-1] == found.end)
        assert len(probe.answer.margins) == len(probe.answer.texts) == len(probe.answer.ids)
        assert min(probe.answer.margins) >= 0


def test_the_record_survives_its_file_and_is_the_same_each_time(bench: Bench, tmp_path: Path) -> None:
    model = bench.model()
    parity.write(bench.record(model), tmp_path)
    first = (tmp_path / parity.FILE).read_bytes()
    assert parity.parse(first) == bench.record(model)
    parity.write(bench.record(model), tmp_path)
    assert (tmp_path / parity.FILE).read_bytes() == first


def test_the_best_adapter_answers_whatever_was_trained_last(bench: Bench, tmp_path: Path) -> None:
    best, last = bench.model(seed=1), bench.model(seed=2)
    best.save_pretrained(tmp_path)
    assert (tmp_path / adapter.WEIGHTS).exists()
    attention.install(last)
    parity.use_best(last, tmp_path)
    expected = bench.record(best)
    assert [one.answer.ids for one in bench.record(last).probes if one.answer] == [
        one.answer.ids for one in expected.probes if one.answer
    ]
    other = bench.record(bench.model(seed=2))
    assert other.probes != expected.probes


def test_what_cannot_be_answered_is_told_and_ends_no_training(bench: Bench) -> None:
    model = bench.model()
    silent = bench.record(model, unanswered="four bits")
    assert silent.unanswered == "four bits"
    assert {probe.answer for probe in silent.probes} == {None}
    broken = bench.record(SimpleNamespace(dtype="torch.float32"))
    assert "the trainer could not make them (AttributeError" in broken.unanswered
    assert [probe.prompt for probe in broken.probes] == [probe.prompt for probe in silent.probes]
    assert bench.record(model, max_length=20).probes == []


def test_a_generation_prompt_that_no_row_was_trained_with_is_seen(tmp_path: Path) -> None:
    thinking = TEMPLATE.replace("assistant\\n' }}{% endif", "assistant\\n<think>' }}{% endif")
    assert thinking != TEMPLATE
    other = Bench(tmp_path, thinking)
    assert not other.record(other.model(), unanswered="not asked").as_trained

"""What is asked of Vertex AI, and what is refused before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from retune.artifacts import digest_of
from retune.backends.base import Order
from retune.backends.vertex_costs import ASSUMED_EPOCHS, cost, estimate, total_steps
from retune.backends.vertex_requests import carries, config_of, label_of, problems_of_recipe
from retune.backends.vertex_rows import problems_of
from retune.prices import OWN_PRICES
from retune.records import Dataset, Recipe
from tests.tuning import Bench, make_bench, make_rows, write_rows

GEMINI, OPEN = "gemini-2.5-flash", "meta/llama3_1@llama-3.1-8b-instruct"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("project"))


def order(dataset: Dataset, base_model: str = GEMINI, method: str = "sft", **hyper: Any) -> Order:
    recipe = Recipe(
        spec_digest=digest_of(b"spec"),
        index=0,
        backend="vertex",
        base_model=base_model,
        base_digest=f"vertex:{base_model}",
        chat_template_digest="",
        method=method,
        hyperparameters=hyper,
        seed=7,
        trainer="vertex",
    )
    return Order("ab" * 32, 1, recipe, dataset)


def dataset_of(bench: Bench, **sides: list[dict[str, Any]]) -> Dataset:
    made = bench.dataset()
    splits = {
        side: getattr(made, side).model_copy(
            update={"artifact": bench.artifacts.put_bytes(write_rows(rows), "application/jsonl")}
        )
        for side, rows in sides.items()
    }
    return made.model_copy(update=splits)


@given(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
def test_a_key_s_label_is_one_that_google_takes_and_finds_it_again(key: str) -> None:
    label = label_of(key)
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", label)
    assert carries(types.TuningJob(labels={"retune_key": label}), key)
    assert not carries(types.TuningJob(labels={"retune_key": "g" + label[1:]}), key)
    assert not carries(types.TuningJob(), key)


@pytest.mark.parametrize(
    ("base_model", "method", "hyper", "words"),
    [
        (GEMINI, "reinforcement", {}, "no method 'reinforcement'"),
        (GEMINI, "sft", {"beta": 0.1}, "`beta` belongs to method dpo"),
        (GEMINI, "sft", {"adapter_size": 3}, "adapter_size is 3"),
        (OPEN, "dpo", {}, "is tuned by method sft only"),
        (OPEN, "sft", {"learning_rate_multiplier": 2.0}, "takes no `learning_rate_multiplier`"),
        (OPEN, "sft", {"checkpoint": "best"}, "the last state is kept"),
    ],
)
def test_what_vertex_cannot_do_is_refused(
    bench: Bench, base_model: str, method: str, hyper: dict[str, Any], words: str
) -> None:
    [problem] = problems_of_recipe(order(bench.dataset(), base_model, method, **hyper), "gs://rows")
    assert words in problem.what
    assert problem.action


def test_all_problems_of_a_recipe_come_together(bench: Bench) -> None:
    many = order(bench.dataset(), OPEN, "dpo", adapter_size=5, learning_rate_multiplier=1.0)
    assert len(list(problems_of_recipe(many, ""))) == 4


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_each_adapter_size_has_google_s_name(bench: Bench, size: int) -> None:
    config = types.CreateTuningJobConfig(
        **config_of(order(bench.dataset(), adapter_size=size), "gs://v", "gs://b")
    )
    assert config.adapter_size in types.AdapterSize
    assert config.adapter_size is not types.AdapterSize.ADAPTER_SIZE_UNSPECIFIED


@pytest.mark.parametrize(("checkpoint", "last_only"), [("last", True), ("best", False)])
def test_checkpoints_are_kept_where_the_best_is_wanted(
    bench: Bench, checkpoint: str, last_only: bool
) -> None:
    config = config_of(order(bench.dataset(), checkpoint=checkpoint), "gs://v", "gs://b")
    assert config["export_last_checkpoint_only"] is last_only
    assert config["labels"]["retune_checkpoint"] == checkpoint


def test_rows_that_gemini_refuses_are_named_by_file_and_line(bench: Bench) -> None:
    rows = make_rows(12)
    rows[4]["messages"][0]["content"] = ""
    named = dataset_of(bench, train=rows, validation=make_rows(2, 100))
    found = problems_of(order(named), bench.artifacts, bench.settings)
    assert [(one.file, one.line) for one in found] == [("train", 5)]
    # Rows without a worse answer are no pairs, on both sides.
    pairs = problems_of(order(bench.dataset(), method="dpo"), bench.artifacts, bench.settings)
    assert {one.file for one in pairs} == {"train", "validation"}


def test_an_empty_side_and_a_row_that_is_too_long_are_refused(bench: Bench) -> None:
    long = make_rows(11)
    long[10]["messages"][0]["content"] = "word " * 120_000
    found = problems_of(order(dataset_of(bench, train=long, validation=[])), bench.artifacts, bench.settings)
    said = "\n".join(map(str, found))
    assert "train:11:" in said and "131,072" in said
    assert "validation: " in said and "0 examples" in said


def test_an_open_model_takes_a_quarter_for_validation(bench: Bench) -> None:
    wide = dataset_of(bench, train=make_rows(12), validation=make_rows(6, 100))
    [problem] = problems_of(order(wide, OPEN), bench.artifacts, bench.settings)
    assert "of the training file's bytes" in problem.what
    assert problems_of(order(wide), bench.artifacts, bench.settings) == []


def test_an_estimate_says_how_it_came_about(bench: Bench) -> None:
    known = estimate(order(bench.dataset(), epochs=3), bench.artifacts, bench.settings)
    assert known.usd is not None and known.usd > 0
    assert "x 3 epochs x $5 per million (as of 2026-" in known.basis
    twice = estimate(order(bench.dataset(), epochs=6), bench.artifacts, bench.settings)
    assert twice.usd == pytest.approx(2 * known.usd)


def test_an_unknown_price_is_no_zero_and_assumed_epochs_are_named(bench: Bench) -> None:
    unknown = estimate(order(bench.dataset(), "gemini-9-flash"), bench.artifacts, bench.settings)
    assert unknown.usd is None
    assert f"{ASSUMED_EPOCHS} epochs (assumed" in unknown.basis
    assert "no price of sft on gemini-9-flash is known" in unknown.basis


def test_both_answers_of_a_pair_are_tokens_and_own_prices_count(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    prices = bench.settings.resolve(OWN_PRICES)
    prices.parent.mkdir(parents=True)
    prices.write_text(
        "version: 1\nbackends:\n  vertex:\n    models:\n      gemini-2.5-flash:\n"
        "        training: {sft: 5.0, dpo: 5.0}\n        as_of: 2026-11-01\n        source: a contract\n"
    )
    worse = [{"role": "assistant", "content": "no idea " * 50}]
    rows = [{**row, "rejected": worse} for row in make_rows(12)]
    pairs = dataset_of(bench, train=rows)
    single = estimate(order(pairs, epochs=1), bench.artifacts, bench.settings)
    double = estimate(order(pairs, method="dpo", epochs=1), bench.artifacts, bench.settings)
    assert single.usd is not None and double.usd is not None
    assert double.usd > 1.5 * single.usd
    assert "a contract" in double.basis


def test_a_job_s_cost_is_not_guessed(bench: Bench) -> None:
    stats = types.TuningDataStats(
        supervised_tuning_data_stats=types.SupervisedTuningDataStats(
            total_billable_token_count=1_000_000, tuning_step_count=40
        )
    )

    def job(epochs: int | None, **given: Any) -> types.TuningJob:
        hyper = types.SupervisedHyperParameters(epoch_count=epochs)
        spec = types.SupervisedTuningSpec(hyper_parameters=hyper)
        return types.TuningJob(supervised_tuning_spec=spec, **{"base_model": GEMINI, **given})

    assert cost(job(2, tuning_data_stats=stats), bench.settings) == pytest.approx(10.0)
    done = types.TuningJobMetadata(completed_epoch_count=3)
    assert cost(
        job(None, tuning_data_stats=stats, tuning_job_metadata=done), bench.settings
    ) == pytest.approx(15.0)
    assert cost(job(None, tuning_data_stats=stats), bench.settings) is None
    assert cost(job(2), bench.settings) is None
    assert cost(job(2, tuning_data_stats=stats, base_model="gemini-9"), bench.settings) is None
    assert total_steps(job(2, tuning_data_stats=stats)) == 40
    assert total_steps(job(2)) == 0

"""Prices: exact where they are known, None where they are not, the project's own in front."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import SpecError
from retune.prices import (
    FRESH_DAYS,
    AnswerPrice,
    Answers,
    BackendPrices,
    HourPrice,
    ModelPrices,
    Prices,
    TokenPrice,
    dated,
    load_prices,
)
from retune.settings import Settings

READ = date(2026, 9, 3)
HOME = """\
version: 1
backends:
  openai:
    models:
      gpt-4.1-mini:
        training: {sft: 4.0}
        as_of: 2026-11-20
        source: our contract
  local:
    hours:
      rented: {usd_per_hour: 2.5, as_of: 2026-11-20, source: the invoice}
  elsewhere:
    models:
      qwen: {training: {sft: 0.5}, as_of: 2026-11-20, source: their page}
"""


def settings(project: Path) -> Settings:
    return Settings.load({"project": str(project)}.get)


def write(project: Path, text: str) -> Path:
    path = project / "include" / "prices.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.fixture
def packaged(tmp_path: Path) -> Prices:
    return load_prices(settings(tmp_path))


@pytest.fixture
def own(tmp_path: Path) -> Prices:
    write(tmp_path, HOME)
    return load_prices(settings(tmp_path))


def test_a_model_is_found_by_its_name_and_by_its_dated_snapshot(packaged: Prices) -> None:
    found = packaged.training("openai", "gpt-4.1-mini-2025-04-14", "sft")
    assert found is not None and found == packaged.training("openai", "gpt-4.1-mini", "sft")
    assert found.usd_per_million == 5.0
    assert found.source.startswith("https://") and found.as_of == READ


@pytest.mark.parametrize(
    ("backend", "model", "method"),
    [
        ("openai", "gpt-4.1-min", "sft"),
        ("openai", "gpt-4.1-mini-", "sft"),
        ("openai", "gpt-4.1-mini-preview", "sft"),
        ("openai", "gpt-4.1-mini-2025-04-14-x", "sft"),
        ("openai", "gpt-4o", "sft"),
        ("openai", "gpt-4o-2024-05-13", "sft"),
        ("openai", "GPT-4.1-mini", "sft"),
        ("openai", "", "sft"),
        ("openai", "gpt-4.1-mini", "reinforcement"),
        ("vertex", "gemini-2.5-flash", "dpo"),
        ("vertex", "gpt-4.1-mini", "sft"),
        ("nowhere", "gpt-4.1-mini", "sft"),
    ],
)
def test_what_nobody_said_has_no_price(packaged: Prices, backend: str, model: str, method: str) -> None:
    assert packaged.training(backend, model, method) is None


def test_reinforcement_goes_by_the_hour(packaged: Prices) -> None:
    found = packaged.training_hour("openai", "o4-mini-2025-04-16", "reinforcement")
    assert found is not None and found.usd_per_hour == 100
    assert packaged.training("openai", "o4-mini-2025-04-16", "reinforcement") is None
    assert packaged.training_hour("openai", "gpt-4.1-mini", "sft") is None


def test_a_tuned_model_answers_at_its_own_price(packaged: Prices) -> None:
    base = packaged.inference("openai", "gpt-4.1-nano")
    tuned = packaged.inference("openai", "ft:gpt-4.1-nano-2025-04-14:acme:tickets:a1:ckpt-step-9")
    assert base is not None and tuned is not None
    assert (base.usd_per_million_input, base.usd_per_million_output) == (0.10, 0.40)
    assert (tuned.usd_per_million_input, tuned.usd_per_million_output) == (0.20, 0.80)
    for unknown in ("ft:another:acme::a1", "ft:", "ft", "text-embedding-3-small"):
        assert packaged.inference("openai", unknown) is None
    # Nobody said what a fine-tuned model of that service is called, so its base model is asked for.
    assert packaged.inference("vertex", "ft:gemini-2.5-flash") is None


def test_own_machines_cost_nothing_and_a_cluster_is_not_known(packaged: Prices) -> None:
    for backend in ("local", "ssh"):
        found = packaged.hour(backend, "gpu")
        assert found is not None and found.usd_per_hour == 0
        assert found.warning(found.as_of + timedelta(days=9999)) == ""
    assert packaged.hour("kubernetes") is None
    assert packaged.hour("openai") is None


def test_the_projects_own_prices_stand_in_front_entry_by_entry(own: Prices) -> None:
    mini = own.training("openai", "gpt-4.1-mini-2025-04-14", "sft")
    assert mini is not None and (mini.usd_per_million, mini.source) == (4.0, "our contract")
    # Whole: the packaged price of another method has another date and another source.
    assert own.training("openai", "gpt-4.1-mini", "dpo") is None
    assert own.inference("openai", "gpt-4.1-mini") is None
    nano = own.training("openai", "gpt-4.1-nano", "sft")
    assert nano is not None and nano.usd_per_million == 1.5
    rented, others = own.hour("local", "rented"), own.hour("local", "gpu")
    assert rented is not None and rented.usd_per_hour == 2.5
    assert others is not None and others.usd_per_hour == 0
    assert own.training("elsewhere", "qwen", "sft") is not None


def test_the_documents_example_is_a_price_file(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "money.md"
    first, *_ = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    write(tmp_path, first)
    prices = load_prices(settings(tmp_path))
    mini = prices.training("openai", "gpt-4.1-mini-2025-04-14", "dpo")
    rented = prices.hour("local", "rented-h100")
    assert mini is not None and mini.usd_per_million == 4.5
    assert rented is not None and rented.usd_per_hour == 2.5
    assert prices.hour("kubernetes") is None


def test_a_project_can_say_that_a_price_is_not_known(tmp_path: Path) -> None:
    text = (
        "version: 1\nbackends:\n  local:\n    hours:\n"
        "      default: {usd_per_hour: null, as_of: 2026-11-20, source: the cloud}\n"
    )
    write(tmp_path, text)
    assert load_prices(settings(tmp_path)).hour("local") is None


def test_every_mistake_of_the_projects_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "version: 1\n"
        "backends:\n"
        "  openai:\n"
        "    models:\n"
        "      gpt-4.1-mini:\n"
        "        training: {sft: -4.0}\n"
        "        as_of: yesterday\n"
        "        source: us\n"
        "      gpt-4.1-nano:\n"
        "        training: {sft: free}\n"
        "        price: 3\n"
        "        as_of: 2026-11-20\n",
    )
    with pytest.raises(SpecError) as caught:
        load_prices(settings(tmp_path))
    found = caught.value.problems
    assert {problem.file for problem in found} == {str(path)}
    assert [problem.line for problem in found] == [6, 7, 9, 10, 11]
    assert "'backends.openai.models.gpt-4.1-nano.source' is missing" in str(caught.value)


def test_a_price_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    for number, text in enumerate(("true", '"3"', ".inf", ".nan", "3 EUR")):
        project = tmp_path / str(number)
        project.mkdir()
        lines = HOME.replace("sft: 4.0", f"sft: {text}")
        write(project, lines)
        with pytest.raises(SpecError, match=r"training\.sft"):
            load_prices(settings(project))


def test_every_packaged_price_says_when_and_where_it_was_read(packaged: Prices) -> None:
    today = date(2026, 11, 23)
    seen = 0
    for backend, prices in packaged._backends.items():
        for name, entry in [*prices.models.items(), *prices.hours.items()]:
            seen += 1
            assert entry.as_of <= today, (backend, name)
            assert entry.source, (backend, name)
    assert seen >= 12


def test_an_old_price_is_a_warning_and_no_error() -> None:
    price = TokenPrice(usd_per_million=5.0, as_of=READ, source="https://their.page")
    assert price.warning(READ + timedelta(days=FRESH_DAYS)) == ""
    said = price.warning(READ + timedelta(days=FRESH_DAYS + 1))
    assert said.startswith("The price was read 91 days ago, on 2026-09-03: look at https://their.page")
    rented = HourPrice(usd_per_hour=2.0, as_of=READ, source="invoice")
    assert "91 days" in rented.warning(READ + timedelta(days=91))


def test_an_estimate_says_that_its_price_is_old() -> None:
    read = {"usd_per_million": 5.0, "source": "https://their.page"}
    today = datetime.now(UTC).date()
    assert dated("9 tokens", TokenPrice(as_of=today, **read)) == "9 tokens"
    old = dated("9 tokens", TokenPrice(as_of=today - timedelta(days=FRESH_DAYS + 2), **read))
    assert old.startswith("9 tokens. The price was read 9") and "https://their.page" in old


def test_costs_are_tokens_hours_and_answers_times_their_price() -> None:
    read = {"as_of": READ, "source": "a page"}
    assert TokenPrice(usd_per_million=5.0, **read).cost(3_000_000) == 15.0
    assert HourPrice(usd_per_hour=100.0, **read).cost(90) == 2.5
    price = AnswerPrice(usd_per_million_input=0.4, usd_per_million_output=1.6, **read)
    assert price.cost(1_000_000, 500_000) == pytest.approx(1.2)


@given(
    listed=st.dictionaries(st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True), st.floats(0, 99)),
    asked=st.text(max_size=12) | st.from_regex(r"[a-z][a-z0-9.-]{0,8}(-2025-04-14)?", fullmatch=True),
)
def test_only_a_listed_name_or_its_snapshot_has_a_price(listed: dict[str, float], asked: str) -> None:
    models = {
        name: ModelPrices(
            training={"sft": usd}, inference=Answers(input=usd, output=usd), as_of=READ, source="page"
        )
        for name, usd in listed.items()
    }
    found = Prices({"openai": BackendPrices(models=models)}).training("openai", asked, "sft")
    undated = asked.removesuffix("-2025-04-14")
    expected = listed.get(asked, listed.get(undated))
    assert (found.usd_per_million if found else None) == expected

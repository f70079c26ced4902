"""Each contender gets the prompter that its strategy and the spec ask for, and what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import DataError
from retune.evaluation.contenders import finalists
from retune.evaluation.prompting.base import Plain, Prompter
from retune.evaluation.prompting.prompters import prompter_for
from retune.evaluation.prompting.room import room_for
from retune.records import Contender, Dataset
from retune.records.evaluation import ENDPOINT, Strategy
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import model
from tests.unit.evaluation.prompting.builders import row, spec_with, stored
from tests.unit.evaluation.prompting.embedding_server import EmbeddingServer

WORDS = ("anchor", "basket", "candle", "dragon", "engine", "falcon", "garden", "hammer", "island", "jacket")


class Endpoints(EnvironmentConnections):
    """Knows one endpoint by any name."""

    def __init__(self, url: str = "http://127.0.0.1:9") -> None:
        self.url = url

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self.url)


class Here:
    """A project with a stored dataset."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.load({"project": str(folder)}.get)
        self.artifacts = Artifacts(self.settings.artifacts_url)
        labels = ("billing", "shipping")
        train = [row(f"{word} {other} was bought", labels[n % 2])
                 for n, word in enumerate(WORDS) for other in WORDS[:4]]  # fmt: skip
        self.held_out = [row(f"what of the lost {word}?", "shipping") for word in WORDS]
        self.dataset: Dataset = stored(
            self.artifacts, train, [row("validate the invoice", "billing")], self.held_out
        )
        self.lines: list[str] = []

    def prompter(
        self, asked: Contender | Strategy, spec: PipelineSpec, connections: Endpoints | None = None
    ) -> Prompter:
        return prompter_for(
            asked,
            spec,
            self.dataset,
            self.artifacts,
            self.settings,
            connections or Endpoints(),
            report=self.lines.append,
        )

    def write(self, name: str, text: str) -> None:
        path = self.settings.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_a_plain_contender_is_asked_as_it_is_and_nothing_is_read(here: Here) -> None:
    found = here.prompter("plain", spec_with(rag={"documents": "nowhere"}))
    assert isinstance(found, Plain) and found.digest == ""


@pytest.mark.parametrize("choose", ["stratified", "nearest"])
def test_few_shot_shows_as_many_as_the_spec_says(here: Here, choose: str) -> None:
    spec = spec_with(few_shot={"examples": 5, "choose": choose})
    found = here.prompter("few_shot", spec)
    assert [len(found.messages(one)) for one in here.held_out] == [2 + 2 * 5] * len(WORDS)
    assert here.lines == []
    other = here.prompter("few_shot", spec_with(few_shot={"examples": 4, "choose": choose}))
    assert found.digest.startswith("sha256:") and found.digest != other.digest
    assert found.digest == here.prompter("few_shot", spec).digest


def test_more_examples_than_there_are_is_all_of_them(here: Here) -> None:
    found = here.prompter("few_shot", spec_with(few_shot={"examples": 100}))
    assert len(found.messages(here.held_out[0])) == 2 + 2 * 40


def small(here: Here, spec: PipelineSpec, tokens: int) -> PipelineSpec:
    """Let the endpoint serve so many tokens at once."""
    folder = here.settings.project / "base"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": tokens}))
    return PipelineSpec.from_json(spec.to_json() | {"recipes": [{"base_model": "base"}]})


def test_what_has_no_room_is_said(here: Here) -> None:
    found = here.prompter("few_shot", small(here, spec_with(few_shot={"examples": 8}), 160))
    assert len(found.messages(here.held_out[0])) < 2 + 2 * 8
    [line] = here.lines
    assert line.startswith(
        "few_shot: 10 of 10 held-out questions have room for fewer than 8 examples, some for"
    )
    assert "a window of 160 tokens (counted by an estimate" in line


def test_a_strategy_that_can_show_nothing_is_an_error(here: Here) -> None:
    here.write("include/knowledge/a.md", "lost things are for shipping " * 30)
    with pytest.raises(DataError, match="few_shot: no examples fit beside any held-out question"):
        here.prompter("few_shot", small(here, spec_with(), 60))
    with pytest.raises(DataError, match="rag: no passages fit beside any") as raised:
        here.prompter("rag", small(here, spec_with(), 60))
    assert "lower evaluation.rag.passage_words" in str(raised.value)


def test_rag_quotes_the_documents_of_the_project(here: Here) -> None:
    here.write("include/knowledge/a.md", "Lost things are for shipping.")
    here.write("include/knowledge/b.md", "Invoices are for billing.")
    found = here.prompter("rag", spec_with(rag={"passages": 1}))
    shown = found.messages(here.held_out[0])[0].content
    assert "[1] a.md\nLost things are for shipping." in shown and "Invoices" not in shown
    assert here.lines == ["rag: 2 passages of 2 documents"]
    before = found.digest
    here.write("include/knowledge/b.md", "Invoices and bills are for billing.")
    assert here.prompter("rag", spec_with(rag={"passages": 1})).digest != before


def test_rag_by_embeddings_asks_the_endpoint_that_is_named(here: Here) -> None:
    here.write("include/knowledge/a.md", "parcel")
    here.write("include/knowledge/b.md", "invoice")
    spec = spec_with(rag={"passages": 1, "embeddings": "embed", "embedding_model": "m"})
    with EmbeddingServer() as server:
        found = here.prompter("rag", spec, Endpoints(server.url))
        shown = found.messages(row("about a bill"))[0].content
    assert "[1] b.md\ninvoice" in shown
    assert found.digest != here.prompter("rag", spec_with(rag={"passages": 1})).digest


@pytest.mark.parametrize("text", ["What of the lost anchor? It is with shipping.", "Validate the invoice!"])
def test_a_document_with_judged_prompts_is_refused(here: Here, text: str) -> None:
    here.write("include/knowledge/a.md", f"# FAQ\n\n{text}")
    with pytest.raises(DataError, match=r"a\.md: holds the prompts of 1 of 11 validation and held-out"):
        here.prompter("rag", spec_with())


def test_without_documents_there_is_no_rag(here: Here) -> None:
    with pytest.raises(DataError, match=r"evaluation\.rag\.documents: no folder or file 'include/knowledge'"):
        here.prompter("rag", spec_with())


def test_every_finalist_has_its_prompter(here: Here) -> None:
    here.write("include/knowledge/a.md", "Lost things are for shipping.")
    spec = spec_with(baselines=["base", "few_shot", "rag"], tuned_with=["rag", "few_shot"])
    made = {one.name: here.prompter(one, spec) for one, _ in finalists(model(), None, None, spec)}
    assert list(made) == ["base", "few_shot", "rag", "candidate", "candidate+rag", "candidate+few_shot"]
    assert made["rag"].digest == made["candidate+rag"].digest != ""
    assert made["few_shot"].digest == made["candidate+few_shot"].digest != made["rag"].digest
    assert made["base"].digest == made["candidate"].digest == ""


def test_the_room_is_that_of_the_recipes_whose_models_answer(here: Here) -> None:
    spec = spec_with().to_json()
    spec["recipes"] = [
        {"base_model": "base", "max_length": 512},
        {"base_model": "base", "max_length": 256},
        {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14"},
    ]
    found = PipelineSpec.from_json(spec)
    small(here, found, 512)
    windows = {
        name: room_for(name, found, here.settings.project).window for name in (ENDPOINT, "openai", "x")
    }
    assert windows == {ENDPOINT: 512, "openai": 131_072, "x": 512}

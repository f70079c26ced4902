"""Who meets the held-out set and where each answers, for models of every kind; no server is asked."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from retune.errors import EndpointError, SetupError
from retune.evaluation.contenders import able, base_of, contender_of, finalists, respondent_for
from retune.evaluation.evidence import of_decision
from retune.evaluation.gate import decide
from retune.evaluation.report import render
from retune.records import Contender, Model
from retune.settings import EndpointAddress, EnvironmentConnections, GoogleAccount, OpenAIAccount
from retune.spec import PipelineSpec
from tests.unit.evaluation.builders import SPEC, dataset, model, outcomes, report

KEY = "sk-canary-61ab0f93d2"
OPENAI = {"connection": "openai_eu"}
VERTEX = {"connection": "gcp", "location": "europe-west4", "bucket": "gs://rows"}
TUNED_OPENAI = "ft:gpt-4.1-mini-2025-04-14:ours::abc"
TUNED_VERTEX = "projects/7/locations/europe-west4/endpoints/42"


class Known(EnvironmentConnections):
    """Knows an account of every kind by any name."""

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(f"http://{name}.example.com", KEY)

    def openai(self, name: str) -> OpenAIAccount:
        return OpenAIAccount(f"https://user:{KEY}@{name}.example.com/v1", KEY)

    def google(self, name: str) -> GoogleAccount:
        return GoogleAccount(f"project-of-{name}", KEY)


def hosted(backend: str, base: str, served_as: str, place: dict[str, str]) -> Model:
    changed = {
        "kind": "hosted",
        "digest": f"digest of {served_as}",
        "base_model": base,
        "base_digest": f"{backend}:{base}",
        "backend": backend,
        "place": place,
        "served_as": served_as,
    }
    return model().model_copy(update=changed)


MODELS = {
    "local": model(),
    "ssh": model().model_copy(update={"backend": "ssh", "place": {"connection": "box"}}),
    "openai": hosted("openai", "gpt-4.1-mini-2025-04-14", TUNED_OPENAI, OPENAI),
    "vertex": hosted("vertex", "gemini-2.5-flash", TUNED_VERTEX, VERTEX),
}
HERE = ("endpoint", {"connection": "vllm_default"})
WHERE = {"local": HERE, "ssh": HERE, "openai": ("openai", OPENAI), "vertex": ("vertex", VERTEX)}
NAMES = {
    "local": ("base", "digest of candidate"),
    "ssh": ("base", "digest of candidate"),
    "openai": ("gpt-4.1-mini-2025-04-14", TUNED_OPENAI),
    "vertex": ("gemini-2.5-flash", TUNED_VERTEX),
}


@pytest.mark.parametrize(("candidate", "champion"), product(MODELS, [*MODELS, None]))
def test_each_contender_answers_where_its_model_is_served(candidate: str, champion: str | None) -> None:
    live = MODELS[champion] if champion else None
    found = {one.name: (one, made) for one, made in finalists(MODELS[candidate], live, None, SPEC)}
    expected = {
        "base": (candidate, NAMES[candidate][0], MODELS[candidate].base_digest, None),
        "candidate": (candidate, NAMES[candidate][1], MODELS[candidate].digest, MODELS[candidate]),
    }
    if champion:
        expected["champion"] = (champion, NAMES[champion][1], MODELS[champion].digest, live)
    assert list(found) == list(expected)
    for name, (kind, model_name, digest, made) in expected.items():
        contender = found[name][0]
        assert (contender.backend, contender.place) == WHERE[kind]
        assert (contender.model_name, contender.model_digest) == (model_name, digest)
        assert found[name][1] == made


def with_evaluation(**changed: object) -> PipelineSpec:
    found = SPEC.to_json()
    found["evaluation"] |= changed
    return PipelineSpec.from_json(found)


EVERYBODY = with_evaluation(baselines=["previous", "rag", "base", "few_shot"], tuned_with=["few_shot", "rag"])


@pytest.mark.parametrize("kind", MODELS)
def test_baselines_are_of_the_candidates_base_model_and_prompts_change_nothing_else(kind: str) -> None:
    made, champion, previous = MODELS[kind], MODELS["openai"], MODELS["vertex"]
    found = finalists(made, champion, previous, EVERYBODY)
    base, tuned = base_of(made, EVERYBODY), contender_of("candidate", made, EVERYBODY)
    assert [(one.name, one.strategy, model) for one, model in found] == [
        ("base", "plain", None),
        ("few_shot", "few_shot", None),
        ("rag", "rag", None),
        ("candidate", "plain", made),
        ("candidate+few_shot", "few_shot", made),
        ("candidate+rag", "rag", made),
        ("champion", "plain", champion),
        ("previous", "plain", previous),
    ]
    for one, _ in found[:6]:
        same = base if one.name in ("base", "few_shot", "rag") else tuned
        assert one.model_copy(update={"name": same.name, "strategy": "plain"}) == same
        assert respondent_for(one, EVERYBODY, Known()).address


def test_a_previous_release_meets_the_set_only_where_the_spec_says_so() -> None:
    found = finalists(MODELS["local"], MODELS["openai"], MODELS["vertex"], SPEC)
    assert [one.name for one, _ in found] == ["base", "candidate", "champion"]
    found = finalists(MODELS["local"], MODELS["openai"], None, EVERYBODY)
    assert "previous" not in [one.name for one, _ in found]


@pytest.mark.parametrize(
    ("baselines", "gate", "champion", "expected"),
    [
        ([], {"beats": {"base": None}}, True, False),
        ([], {"beats": {"base": None}}, False, True),
        (["base"], {"beats": {"base": None}}, True, True),
        (["few_shot"], {}, True, True),
    ],
)
def test_the_base_model_is_asked_where_the_gate_compares_with_it(
    baselines: list[str], gate: dict[str, object], champion: bool, expected: bool
) -> None:
    body = SPEC.to_json()
    body["evaluation"]["baselines"] = baselines
    spec = PipelineSpec.model_validate(body | {"gate": gate})
    live = MODELS["local"] if champion else None
    found = finalists(MODELS["local"], live, None, spec)
    assert ("base" in [one.name for one, _ in found]) is expected


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("local", "endpoint http://vllm_default.example.com"),
        ("openai", "openai_eu.example.com"),
        ("vertex", "Vertex AI (project project-of-gcp, europe-west4)"),
    ],
)
def test_a_record_alone_tells_where_its_contender_is_asked(kind: str, address: str) -> None:
    [(base, _), (candidate, _)] = finalists(MODELS[kind], None, None, SPEC)
    for contender in (base, candidate):
        again = Contender.from_json(contender.to_json())
        found = respondent_for(again, SPEC, Known())
        assert found.address == address
        assert KEY not in repr(found) + found.address


def test_a_tuned_model_is_asked_in_the_region_that_its_name_says() -> None:
    moved = MODELS["vertex"].model_copy(update={"place": {**VERTEX, "location": "us-central1"}})
    [(base, _), (candidate, _)] = finalists(moved, None, None, SPEC)
    assert "us-central1" in respondent_for(base, SPEC, Known()).address
    assert "europe-west4" in respondent_for(candidate, SPEC, Known()).address


def test_a_record_of_before_answers_at_the_endpoint_of_its_spec() -> None:
    old = {
        "schema_version": 1,
        "spec_digest": SPEC.digest,
        "retune_version": "0.1.0",
        "name": "champion",
        "model_name": "sha256:1",
        "model_digest": "sha256:1",
        "strategy": "plain",
    }
    found = respondent_for(Contender.from_json(old), SPEC, Known())
    assert found.address == "endpoint http://vllm_default.example.com"


def test_a_backend_whose_models_cannot_be_asked_is_said() -> None:
    other = contender_of("recipe-1", MODELS["openai"].model_copy(update={"backend": "acme"}), SPEC)
    with pytest.raises(SetupError, match="recipe-1 is hosted by 'acme', whose models cannot be asked"):
        respondent_for(other, SPEC, Known())


def test_models_that_nobody_serves_do_not_compete() -> None:
    weights = MODELS["local"].model_copy(update={"kind": "weights", "recipe_index": 1})
    files = MODELS["vertex"].model_copy(update={"served_as": "", "uri": "vertex:gs://x", "recipe_index": 2})
    said: list[str] = []
    assert able([MODELS["local"], weights, files, MODELS["openai"]], SPEC, said.append) == [
        MODELS["local"],
        MODELS["openai"],
    ]
    assert ["recipe 2 made full weights" in said[0], "`tuning: lora`" in said[0]] == [True, True]
    assert "recipe 3 made vertex:gs://x, which vertex serves nowhere" in said[1]
    assert len(said) == 2
    with pytest.raises(EndpointError, match=r"(?s)full weights.*serves nowhere"):
        able([weights, files], SPEC, said.append)
    with pytest.raises(EndpointError, match="no recipe made a model"):
        able([], SPEC, said.append)


def test_the_page_says_who_hosts_a_contender(tmp_path: Path) -> None:
    found = {"candidate": outcomes([True] * 90), "base": outcomes([False] * 90)}
    reports = {name: report(name, rows, tmp_path) for name, rows in found.items()}
    hosts = contender_of("candidate", MODELS["vertex"], SPEC)
    reports["candidate"] = reports["candidate"].model_copy(update={"contender": hosts})
    decision = decide(SPEC, dataset(90), reports, found, None, held_out_uses=1, leaked=0)
    html = render(of_decision(SPEC, dataset(90), decision, reports, found, MODELS["vertex"]))
    assert f"<code>{TUNED_VERTEX}</code>" in html
    assert html.count("at vertex") == 1

"""Google's discovery documents as contracts, and requests read as proto JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import SetupError
from retune.testing.emulators.store import opened
from retune.testing.emulators.vertex_contract import (
    PREFIX,
    DiscoveryContract,
    GoogleContract,
    json_schema,
    storage_contract,
    vertex_contract,
)
from retune.testing.emulators.vertex_refusals import VertexRefused
from retune.testing.emulators.vertex_requests import read_message, snake
from retune.testing.emulators.vertex_service import VertexEmulator

JOBS = "/v1beta1/projects/{project}/locations/{location}/tuningJobs"
JOB = {
    "name": "projects/646763706049/locations/us-central1/tuningJobs/6284765961371254784",
    "baseModel": "gemini-2.5-flash",
    "state": "JOB_STATE_FAILED",
    "createTime": "2026-11-03T21:08:07.734198Z",
    "supervisedTuningSpec": {
        "trainingDatasetUri": "gs://rows/train.jsonl",
        "hyperParameters": {
            "epochCount": "10",
            "learningRateMultiplier": 1,
            "adapterSize": "ADAPTER_SIZE_ONE",
        },
    },
    "labels": {"key": "value"},
    "error": {"code": 13, "message": "Failed to create endpoint.", "details": [{"@type": "x", "y": [1]}]},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The job with one field changed."""
    job = json.loads(json.dumps(JOB))
    *way, last = path.split(".")
    place = job
    for step in way:
        place = place[step]
    place[last] = value
    return job


def test_a_job_as_google_shows_it_keeps_the_contract() -> None:
    assert GoogleContract().problems("GET", f"{JOBS}/{{job}}", JOB) == []
    assert GoogleContract().problems("GET", JOBS, {"tuningJobs": [JOB], "nextPageToken": "x"}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("speed", 1),
        ("supervisedTuningSpec.hyperParameters.epoch_count", "3"),
        ("supervisedTuningSpec.hyperParameters.epochCount", 10),
        ("supervisedTuningSpec.hyperParameters.adapterSize", "ADAPTER_SIZE_THREE"),
        ("state", "RUNNING"),
        ("createTime", "2026-11-03 21:08"),
        ("error.code", "13"),
        ("labels", {"key": 1}),
        ("labels", []),
    ],
)
def test_what_google_would_not_say_is_named_by_its_place(path: str, value: Any) -> None:
    [problem] = vertex_contract().problems("GET", f"{JOBS}/{{job}}", changed(path, value))
    assert problem.startswith("$")
    assert "speed" in problem or problem.partition(":")[0].split(".")[-1] in f"{path}.key hyperParameters"


def test_what_is_not_in_the_document_is_said_so() -> None:
    contract = GoogleContract()
    assert contract.problems("PUT", JOBS, {}) == [f"PUT {JOBS} is not in the contract"]
    [problem] = contract.problems("DELETE", "/storage/v1/b/{bucket}/o/{object}", {})
    assert problem == "storage.objects.delete answers with a body, and has none"
    with pytest.raises(SetupError, match="aiplatform v9"):
        DiscoveryContract("aiplatform", "v9")


def test_every_route_is_a_method_of_google(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        routes = VertexEmulator(store).routes()
    own = {"/token", "/_emulator/service_accounts", "/download/storage/v1/b/{bucket}/o/{object:path}"}
    assert own <= {route.template for route in routes}
    for route in routes:
        if route.template not in own:
            contract = storage_contract() if "/storage/v1/" in route.template else vertex_contract()
            assert contract.method(route.method, route.template), route


@given(st.integers(min_value=-(2**62), max_value=2**62))
def test_a_64_bit_number_is_text_in_answers_and_either_in_requests(number: int) -> None:
    contract, schema = vertex_contract(), f"{PREFIX}SupervisedHyperParameters"
    assert contract.flaws(schema, {"epochCount": str(number)}) == []
    assert contract.flaws(schema, {"epochCount": number}) != []
    for written in (number, str(number)):
        raw = json.dumps({"epochCount": written}).encode()
        assert read_message(raw, contract, schema, "x") == {"epochCount": str(number)}


def test_the_dialects_of_google_become_json_schema() -> None:
    node = {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "B"}}}}
    assert json_schema(node) == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/B"}}},
        "additionalProperties": False,
    }
    assert (
        json_schema({"type": "object", "additionalProperties": {"type": "any"}})["additionalProperties"] == {}
    )
    assert json_schema({"type": "string", "enum": ["A"]}) == {"enum": ["A"]}
    assert json_schema({"type": "boolean"}) == {"type": "boolean"}


NAMES = st.sampled_from(["trainingDatasetUri", "validationDatasetUri", "exportLastCheckpointOnly"])
VALUES = {"exportLastCheckpointOnly": st.booleans()}


@given(st.sets(NAMES), st.data())
def test_both_spellings_read_the_same(names: set[str], data: st.DataObject) -> None:
    body = {name: data.draw(VALUES.get(name, st.text())) for name in names}
    schema = f"{PREFIX}SupervisedTuningSpec"
    spelled = {snake(name): value for name, value in body.items()}
    read = [
        read_message(json.dumps(one).encode(), vertex_contract(), schema, "spec") for one in (body, spelled)
    ]
    assert read == [body, body]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["contents", "parts", "role", "text", "generation_config", "topK", "stopSequences"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_a_request_is_read_or_refused_whatever_it_holds(value: Any) -> None:
    schema = f"{PREFIX}GenerateContentRequest"
    try:
        found = read_message(json.dumps(value).encode(), vertex_contract(), schema, "")
    except VertexRefused as refused:
        assert refused.status == 400 and refused.details
    else:
        assert vertex_contract().flaws(schema, found) == []


def test_what_only_the_service_sets_is_not_taken_from_a_request() -> None:
    raw = json.dumps({"name": "mine", "state": "JOB_STATE_SUCCEEDED", "description": None}).encode()
    assert read_message(raw, vertex_contract(), f"{PREFIX}TuningJob", "tuning_job") == {}
    with pytest.raises(VertexRefused, match="Invalid JSON payload"):
        read_message(b"{", vertex_contract(), f"{PREFIX}TuningJob", "tuning_job")

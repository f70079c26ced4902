"""What Vertex AI finds in data, and small parts of its jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retune.testing.emulators.lifecycle import Life
from retune.testing.emulators.options import Options
from retune.testing.emulators.vertex_catalog import adapter_size, find_model, tunable
from retune.testing.emulators.vertex_contract import PREFIX, vertex_contract
from retune.testing.emulators.vertex_datasets import examine, statistics_of
from retune.testing.emulators.vertex_names import number_of, project_number, stamp, timestamp
from retune.testing.emulators.vertex_refusals import VertexRefused
from retune.testing.emulators.vertex_work import PREFERENCE, SUPERVISED, Job

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["contents", "parts", "role", "text", "completions", "score", "messages", "prompt"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.lists(JSON, max_size=3), st.sampled_from([SUPERVISED, PREFERENCE]), st.booleans())
@example([{"messages": []}], SUPERVISED, True)
@example([{"contents": [{"parts": 1}]}], SUPERVISED, False)
@example([{"completions": [1, 2]}], PREFERENCE, False)
def test_any_json_is_an_example_or_named(rows: list[Any], spec: str, is_open: bool) -> None:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    found = examine(data, spec, is_open)
    assert bool(found.error) != bool(found.examples)
    assert found.examples in (0, len(rows))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40), st.sampled_from([SUPERVISED, PREFERENCE]))
def test_the_statistics_add_up_and_keep_the_contract(lengths: list[int], spec: str) -> None:
    def content(role: str, length: int) -> dict[str, Any]:
        return {"role": role, "parts": [{"text": "x" * length}]}

    rows = []
    for length in lengths:
        answer = content("model", 3)
        scored = [{"score": score, "completion": answer} for score in (0, 1)]
        rows.append(
            {"contents": [content("user", length)], "completions": scored}
            if spec == PREFERENCE
            else {"contents": [content("user", length), answer]}
        )
    found = examine(b"\n".join(json.dumps(row).encode() for row in rows), spec, is_open=False)
    stats = statistics_of(found, spec, steps=7)
    assert vertex_contract().flaws(f"{PREFIX}TuningDataStats", stats) == []
    [inner] = stats.values()
    spread = inner["userInputTokenDistribution"]
    assert sum(int(bucket["count"]) for bucket in spread["buckets"]) == len(lengths)
    assert int(spread["sum"]) == sum(found.inputs)
    assert spread["min"] <= spread["p5"] <= spread["median"] <= spread["p95"] <= spread["max"]
    assert int(inner["totalBillableTokenCount"]) == found.tokens


def job(epochs: int, **spec: Any) -> Job:
    name = "projects/1/locations/us-central1/tuningJobs/2"
    fields = {"name": name, SUPERVISED: spec}
    return Job(fields, Life.begin(0.0), SUPERVISED, "1", "us-central1", False, "m", epochs, epochs * 3, 9, {})


@given(st.integers(1, 200))
def test_checkpoints_are_kept_each_epoch_or_ten_evenly_with_the_last(epochs: int) -> None:
    kept = job(epochs).checkpoint_epochs
    assert kept == sorted(set(kept)) and kept[-1] == epochs
    assert len(kept) == min(epochs, 10)
    assert job(epochs, exportLastCheckpointOnly=True).checkpoint_epochs == [epochs]


def test_names_belong_to_what_they_name() -> None:
    assert project_number("acme") == project_number("acme") != project_number("other")
    assert len(project_number("acme")) == 12 and project_number("123") == "123"
    assert len(number_of("a")) == 19 and number_of("a") != number_of("b")
    assert (timestamp(0.25), stamp(0.25)) == ("1970-01-01T00:00:00.250000Z", "19700101000000250000")
    assert job(1).endpoint(1) != job(1).endpoint(2)


def test_models_are_known_by_both_names_and_until_their_day() -> None:
    now = 1_800_000_000.0
    flash = find_model("gemini-2.5-flash", Options(), now)
    assert flash and find_model("publishers/google/models/gemini-2.5-flash", Options(), now) == flash
    llama = "meta/llama3_1@llama-3.1-8b-instruct"
    found = find_model("publishers/meta/models/llama3_1@llama-3.1-8b-instruct", Options(), now)
    assert found and (found.name, found.is_open) == (llama, True)
    assert find_model("gpt-4", Options(), now) is None
    assert find_model("gemini-2.5-flash", Options(models={"gemini-2.5-flash": "2026-10-20"}), now) is None
    assert adapter_size(flash, "ADAPTER_SIZE_UNSPECIFIED") == "ADAPTER_SIZE_EIGHT"
    assert tunable(llama, "global", Options(), now) == found
    with pytest.raises(VertexRefused, match="us-central1, europe-west4"):
        tunable("gemini-3.5-flash", "asia-east1", Options(), now)

"""The real Envoy in front of a stub of vLLM: which release answers, what is refused, what is kept."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.errors import EndpointError
from retune.serving import gateway
from retune.serving.shipping import read_line
from retune.testing.vllm_stub import VllmStub
from tests.unit.serving.builders import digest, route, until
from tests.unit.serving.conftest import Gateway

ONE, TWO = digest("1"), digest("2")


@pytest.fixture(autouse=True)
def routed(stub: VllmStub, envoy: Gateway) -> None:
    stub.adapters |= {ONE: "/one", TWO: "/two"}
    envoy.lead(route((1, ONE, 100)))


def test_an_alias_is_answered_by_its_release(envoy: Gateway) -> None:
    answer = envoy.ask("tickets", "where is my parcel?")
    assert answer.status_code == 200
    assert answer.json()["model"] == ONE
    assert answer.json()["choices"][0]["message"]["content"] == "where is my parcel?"
    assert (answer.headers["x-retune-release"], answer.headers["x-retune-route"]) == ("1", "1")


def test_rendering_is_pure_and_reads_back(tmp_path: Path) -> None:
    routes = [route((1, ONE, 60), (2, TWO, 40), version=7), route((1, ONE, 100), alias="other")]
    assert gateway.render(routes, ["http://a:1"]) == gateway.render(reversed(routes), ["http://a:1"])
    gateway.publish(tmp_path, gateway.render(routes, ["http://a:1"]))
    assert sorted(gateway.published(tmp_path), key=lambda r: r.alias) == [routes[1], routes[0]]
    (tmp_path / "xds" / "rds.json").write_text("{}")
    with pytest.raises(EndpointError, match="no route table"):
        gateway.published(tmp_path)


def test_weights_share_the_traffic(envoy: Gateway) -> None:
    envoy.lead(route((1, ONE, 75), (2, TWO, 25), version=2))
    seen = Counter(envoy.ask("tickets").json()["model"] for _ in range(200))
    assert 110 < seen[ONE] < 190
    assert seen[ONE] + seen[TWO] == 200
    envoy.lead(route((1, ONE, 0), (2, TWO, 100), version=3))
    assert {envoy.ask("tickets").json()["model"] for _ in range(20)} == {TWO}
    envoy.lead(route((1, ONE, 100), version=4))
    assert envoy.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("name", ["nope", ONE, "base", "TICKETS", "", "tickets ", "version"])
def test_an_unknown_alias_is_refused_in_openais_shape(envoy: Gateway, stub: VllmStub, name: str) -> None:
    calls = len(stub.calls)
    answer = envoy.ask(name)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "sha256" not in answer.text and "x-retune-release" not in answer.headers
    assert len(stub.calls) == calls


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": "tickets"',
        b'{"model": "tickets"} {}',
        b'{"messages": []}',
        b'{"model": "tickets", "model": "other"}',
        b'{"model": "tickets", "mod\\u0065l": "other"}',
        b'{"model" "tickets"}',
        b'{"model": "tickets", }',
        b'\xef\xbb\xbf{"model": "tickets"}',
        '{"model": "tickets"}'.encode("utf-16"),
    ],
)
def test_a_body_that_two_readers_could_read_differently_is_refused(
    envoy: Gateway, stub: VllmStub, body: bytes
) -> None:
    calls = len(stub.calls)
    answer = envoy.client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(stub.calls) == calls


@pytest.mark.parametrize(
    "body", [b'{"model": ["tickets"]}', b'{"model": {"model": "tickets"}}', b'{"model": 1}']
)
def test_a_model_that_is_no_name_is_unknown(envoy: Gateway, body: bytes) -> None:
    assert envoy.client.post("/v1/chat/completions", content=body).status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.just("model"), children),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")).map("x".__add__), JSON, max_size=3),
    after=st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")).map("y".__add__), JSON, max_size=3),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_only_the_top_level_model_is_changed(
    envoy: Gateway, stub: VllmStub, before: object, after: object, ascii_only: bool, indent: int | None
) -> None:
    assert isinstance(before, dict) and isinstance(after, dict)
    body = {**before, "model": "tickets", **after, "messages": [{"role": "user", "content": '"model": "x"'}]}
    seen: list[dict[str, object]] = []
    text = json.dumps(body, ensure_ascii=ascii_only, indent=indent)
    if any("\\" in json.dumps(key, ensure_ascii=ascii_only) for key in body):
        return  # escaped keys are refused, see above
    stub.on_body = seen.append
    answer = envoy.client.post("/v1/chat/completions", content=text.encode("utf-8", "surrogatepass"))
    stub.on_body = lambda body: None
    assert answer.status_code == 200
    assert seen == [{**json.loads(text), "model": ONE}]


def test_a_large_body_passes_and_a_larger_one_is_413(envoy: Gateway, stub: VllmStub) -> None:
    assert envoy.ask("tickets", 'long "text" ' * 70_000).status_code == 200
    answer = envoy.ask("tickets", "x" * 1_100_000)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_models_lists_the_aliases_only(envoy: Gateway) -> None:
    envoy.lead(route((1, ONE, 100), version=5), route((2, TWO, 100), alias="b-side"))
    answer = envoy.client.get("/v1/models")
    assert [model["id"] for model in answer.json()["data"]] == ["b-side", "tickets"]
    assert "sha256" not in answer.text
    envoy.lead(route((1, ONE, 100), version=6))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/metrics"),
        ("POST", "/health"),
    ],
)
def test_nothing_else_reaches_the_server(envoy: Gateway, stub: VllmStub, method: str, path: str) -> None:
    calls = len(stub.calls)
    answer = envoy.client.request(method, path, json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]
    assert len(stub.calls) == calls


def test_a_stream_goes_on_to_the_caller_as_it_comes(envoy: Gateway, stub: VllmStub) -> None:
    arrived = threading.Event()
    envoy.lead(route((1, ONE, 100), alias="streamed"))
    stub.mid_stream = lambda: None if arrived.wait(20) else pytest.fail("the stream was held back")
    events = []
    body = {"model": "streamed", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
    with envoy.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["x-retune-release"] == "1"
        for line in answer.iter_lines():
            if line:
                arrived.set()
                events.append(line)
    stub.mid_stream = lambda: None
    assert events[-1] == "data: [DONE]" and len(events) == 4
    [line] = envoy.captured("streamed", 1)
    exchange = read_line(line)
    assert exchange and (exchange.prompt, exchange.answer) == ("one two three", "one two three")


def test_what_was_asked_and_answered_is_kept(envoy: Gateway) -> None:
    envoy.lead(route((1, ONE, 100), alias="kept"))
    talk = [
        {"role": "system", "content": "Name the queue."},
        {"role": "user", "content": "earlier"},
        {"role": "assistant", "content": "billing"},
        {"role": "user", "content": 'Wo ist „mein" Paket?\n\U0001f4e6'},
    ]
    parts = [{"type": "text", "text": "in parts"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    for path, body in [
        ("/v1/chat/completions", {"messages": talk}),
        ("/v1/completions", {"prompt": "plain"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]}),
    ]:
        envoy.client.post(path, json={**body, "model": "kept"})
    first, second, third = (read_line(line) for line in envoy.captured("kept", 3))
    assert first and second and third
    assert first.prompt == first.answer == talk[-1]["content"]
    assert (first.pipeline, first.alias, first.release, first.model_digest) == ("tickets", "kept", 1, ONE)
    assert first.status == 200 and first.latency_ms >= 0
    assert (second.prompt, second.answer) == ("plain", "plain")
    assert third.prompt == "in parts"


def test_what_is_kept_is_bounded(envoy: Gateway) -> None:
    envoy.lead(route((1, ONE, 100), alias="bounded"))
    text = "äöü\n" * 50_000
    envoy.ask("bounded", text)
    [line] = envoy.captured("bounded", 1)
    exchange = read_line(line)
    assert len(line) < 150_000
    assert exchange and 1_000 < len(exchange.prompt) < 16_384
    assert text.startswith(exchange.prompt.rstrip("\ufffd"))
    assert len(exchange.answer) > 1_000 and text.startswith(exchange.answer.rstrip("\ufffd"))


def test_a_replica_without_the_adapter_is_a_passing_trouble(envoy: Gateway, stub: VllmStub) -> None:
    del stub.adapters[ONE]
    answer = envoy.ask("tickets")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_dead_replica_is_said_in_openais_shape(envoy: Gateway) -> None:
    gateway.publish(envoy.folder, gateway.render([route((1, ONE, 100), version=8)], ["http://127.0.0.1:1"]))
    try:
        until(lambda: envoy.ask("tickets").status_code == 503, "the replica is missed")
        assert envoy.ask("tickets").json()["error"]["type"] == "server_error"
    finally:
        envoy.lead(route((1, ONE, 100), version=9))

"""Files of a real web server on this machine, which only the operator's word lets in."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.addresses import redact, scrub
from retune.artifacts import digest_of
from retune.data.sources import Source, find_sources
from retune.errors import DataError
from retune.public_web import is_public
from retune.settings import EnvironmentFileSystems, Settings

GOOD = b'{"text": "where is it", "queue": "shipping"}\n' * 30_000


@dataclass
class Server:
    """A web server and what it was asked."""

    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)

    def url(self, path: str, host: str = "127.0.0.1", before: str = "") -> str:
        return f"http://{before}{host}:{self.port}{path}"


def give(data: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Length": str(len(data)), **named}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def lead(where: str, status: int = 302) -> Callable[[BaseHTTPRequestHandler], None]:
    return give(b"", status, Location=where)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append({"path": self.path, **self.headers})
            made.answers.get(self.path, give(b"", 404))(self)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., list[Source]]:
    settings = Settings.load({"project": str(tmp_path), "home": str(tmp_path / "home")}.get)

    def find(*urls: str, hosts: tuple[str, ...] = ("127.0.0.1",)) -> list[Source]:
        return find_sources(urls, replace(settings, sources_private_hosts=hosts), EnvironmentFileSystems())

    return find


def said(find: Callable[..., list[Source]], *urls: str, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        find(*urls, **more)
    assert all(problem.action for problem in caught.value.problems)
    return str(caught.value)


def test_a_file_is_read_as_it_is_stored(server: Server, find: Callable[..., list[Source]]) -> None:
    # A server may declare what is packed in the file; the digest is of what lies there.
    server.answers["/a.jsonl"] = give(GOOD)
    server.answers["/b.csv"] = give(b"x,y\n", Content_Encoding="identity")
    first, second = find(server.url("/a.jsonl"), server.url("/b.csv"))
    digests: list[str] = []
    assert (first.size, first.local, first.format) == (len(GOOD), None, "jsonl")
    assert b"".join(first.stream(digests.append)) == GOOD
    assert b"".join(second.stream(digests.append)) == b"x,y\n"
    assert digests == [digest_of(GOOD), digest_of(b"x,y\n")]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0", "[::1]",
     "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "[fe80::1]", "192.168.1.1",
     "100.64.0.1"],
)  # fmt: skip
def test_a_private_address_is_refused(server: Server, find: Callable[..., list[Source]], host: str) -> None:
    server.answers["/a.jsonl"] = give(GOOD)
    text = said(find, server.url("/a.jsonl", host), hosts=("elsewhere", f"{host}:1"))
    assert "which is no public address -> the operator may add" in text
    assert "sources_private_hosts" in text
    assert "Invalid IPv4 address" in said(find, server.url("/a.jsonl", "0177.0.0.1"), hosts=())
    assert not server.asked


def test_the_operator_lets_a_host_in_by_name_or_with_its_port(
    server: Server, find: Callable[..., list[Source]]
) -> None:
    server.answers["/a.jsonl"] = give(GOOD)
    for hosts in (("localhost",), (f"LOCALHOST:{server.port}",)):
        assert find(server.url("/a.jsonl", "localhost"), hosts=hosts)
    assert server.asked[0]["Host"] == f"localhost:{server.port}"


def test_a_redirect_to_a_private_address_is_refused(
    server: Server, find: Callable[..., list[Source]]
) -> None:
    server.answers["/a.jsonl"] = lead(server.url("/secret.jsonl", "localhost"))
    server.answers["/secret.jsonl"] = give(GOOD)
    assert "leads to localhost (127.0.0.1), which is no public" in said(find, server.url("/a.jsonl"))
    server.answers["/a.jsonl"] = lead("http://169.254.169.254/latest/meta-data/?token=hunter2")
    assert "leads to 169.254.169.254" in said(find, server.url("/a.jsonl"))
    server.answers["/a.jsonl"] = lead("file:///etc/passwd")
    assert "is redirected to file:/etc/passwd, away from http" in said(find, server.url("/a.jsonl"))
    assert [each["path"] for each in server.asked] == ["/a.jsonl"] * 3


def test_a_redirect_is_followed_without_the_credentials(
    server: Server, find: Callable[..., list[Source]]
) -> None:
    server.answers["/a.jsonl"] = lead("/b", 307)
    server.answers["/b"] = lead(server.url("/c", "localhost"))
    server.answers["/c"] = give(GOOD)
    (source,) = find(server.url("/a.jsonl", before="me:hunter2@"), hosts=("127.0.0.1", "localhost"))
    assert source.size == len(GOOD)
    sent = "Basic " + base64.b64encode(b"me:hunter2").decode()
    assert [each.get("Authorization") for each in server.asked] == [sent, sent, None]
    server.answers["/c"] = lead(server.url("/c", "localhost"))
    assert "is redirected more than 5 times" in said(
        find, server.url("/a.jsonl"), hosts=("127.0.0.1", "localhost")
    )


def test_credentials_are_used_and_never_shown(server: Server, find: Callable[..., list[Source]]) -> None:
    for number in (1, 2):
        server.answers[f"/a.jsonl?X-Amz-Signature=hunter2{number}&v=1"] = give(b"{}" * number)
    urls = [server.url(f"/a.jsonl?X-Amz-Signature=hunter2{n}&v=1", before="me:pass%20word@") for n in (1, 2)]
    found = find(*urls)
    name = f"http://***@127.0.0.1:{server.port}/a.jsonl?X-Amz-Signature=***&v=***"
    assert [source.name for source in found] == [name, f"{name} (2)"]
    assert [b"".join(source.stream(print)) for source in found] == [b"{}", b"{}{}"]
    assert server.asked[-1]["Authorization"] == "Basic " + base64.b64encode(b"me:pass word").decode()
    server.answers.clear()
    for text in (repr(found), said(find, *urls), str(pytest.raises(DataError, list, found[0].stream(print)))):
        assert not any(secret in text for secret in ("hunter2", "pass word", "pass%20word", "me:"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "is not there (the server answered 404) -> check the URL"),
        (403, "is refused (the server answered 403) -> check the URL's credentials"),
        (500, "is not given (the server answered 500) -> run again when the server is well"),
        (206, "is not given (the server answered 206)"),
    ],
)
def test_an_answer_without_the_file_is_said(
    server: Server, find: Callable[..., list[Source]], status: int, words: str
) -> None:
    server.answers["/a.jsonl"] = give(b"no", status)
    assert words in said(find, server.url("/a.jsonl"))


def test_a_connection_that_breaks_off_is_an_error_and_never_fewer_rows(
    server: Server, find: Callable[..., list[Source]]
) -> None:
    server.answers["/a.jsonl"] = give(GOOD, Content_Length=str(len(GOOD) + 1))
    (source,) = find(server.url("/a.jsonl"))
    with pytest.raises(DataError, match="broke off: .* -> run again when the server is well"):
        list(source.stream(print))


def test_a_server_that_is_not_there_is_said(find: Callable[..., list[Source]], server: Server) -> None:
    assert "cannot be found" in said(find, "http://no..host/a.jsonl")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        port = unused.server_port
    assert "cannot be had" in said(find, f"http://127.0.0.1:{port}/a.jsonl")
    # No TLS there.
    assert "cannot be had" in said(find, server.url("/a.jsonl").replace("http:", "https:"))


def test_public_and_other_addresses() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"):
        assert is_public(address), address
    for address in (
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "::", "ff02::1", "fe80::1%eth0",
        "fec0::1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", "64:ff9b:1::1", "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1", "5f00::1",
    ):  # fmt: skip
        assert not is_public(address), address


@given(st.ip_addresses(v=4))
def test_an_address_that_wraps_a_private_one_is_private(address: Any) -> None:
    number = int(address)
    wrapped = [f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"]
    assert {is_public(text) for text in wrapped} == {is_public(str(address))}


SECRET = st.text("abcdefgh/@:", min_size=3).map(lambda text: f"s3cret{text}s3cret")


@given(st.sampled_from(["http", "https", "s3", "gs", "ssh", "zip://a::http"]), SECRET, SECRET)
def test_no_secret_is_shown(scheme: str, password: str, token: str) -> None:
    url = f"{scheme}://user:{password}@host/path/rows.csv?X-Amz-Date=1&sig={token.replace('/', '')}"
    for text in (redact(url), scrub(f"cannot open {url}: sorry", url)):
        assert "s3cret" not in text and "host/path/rows.csv" in text


def test_what_is_no_secret_is_shown() -> None:
    for url in (
        "s3://my_aws@bucket/a?.jsonl", "https://[::1]:80/a.csv", "http://h:80/@scope/a.csv", "a/b@c?.csv",
        "abfs://box@account.dfs.core.windows.net/a.csv", "s3://b/a.csv?versionId=***",
    ):  # fmt: skip
        assert redact(url) == url
    assert redact("https://token@h/a.csv#part") == "https://***@h/a.csv"

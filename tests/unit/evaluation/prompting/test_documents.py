"""Documents are read whole or not at all, and cut where paragraphs end."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import DataError
from retune.evaluation.prompting import documents
from retune.evaluation.prompting.documents import Document, passages_of, read_documents
from retune.settings import EnvironmentFileSystems, Settings


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, but what is secret and what lies elsewhere, and says nothing."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/secret.md?signature=canary")
            self.end_headers()
        elif self.path.startswith("/secret"):
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    (tmp_path / "project").mkdir()
    return Settings.load({"project": str(tmp_path / "project")}.get)


def write(settings: Settings, name: str, data: bytes | str = "words") -> Path:
    path = settings.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(settings: Settings, place: str, *hosts: str) -> dict[str, str]:
    settings = replace(settings, sources_private_hosts=hosts)
    return {one.name: one.text for one in read_documents(place, settings, EnvironmentFileSystems())}


def test_a_folder_holds_texts_at_any_depth(project: Settings) -> None:
    write(project, "know/b.md", "\ufeff# B\r\n\r\nwith a\x00 stop\r")
    write(project, "know/a/deep.TXT", "deep")
    for other in ("know/table.csv", "know/.hidden.md", "know/.git/x.md", "know/empty.md"):
        write(project, other, "" if "empty" in other else "no document")
    assert read(project, "know") == {"a/deep.TXT": "deep", "b.md": "# B\n\nwith a stop"}
    assert read(project, "know/b.md") == {"b.md": "# B\n\nwith a stop"}
    assert read(project, (project.project / "know" / "a").as_uri()) == {"deep.TXT": "deep"}


def test_a_store_holds_texts_too(project: Settings) -> None:
    store = fsspec.filesystem("memory")
    for name, text in {"a.md": "A", "deep/b.txt": "B", "c.csv": "C"}.items():
        store.pipe(f"/knowledge-of-tests/{name}", text.encode())
    try:
        assert read(project, "memory://knowledge-of-tests") == {"a.md": "A", "deep/b.txt": "B"}
        assert read(project, "memory://knowledge-of-tests/a.md") == {"a.md": "A"}
        with pytest.raises(DataError, match="nothing is at 'memory://knowledge-of-tests/none'"):
            read(project, "memory://knowledge-of-tests/none")
    finally:
        store.rm("/knowledge-of-tests", recursive=True)


def test_a_web_server_holds_one_text(project: Settings, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "know.md").write_text("# Know\n\nit")
    (tmp_path / "web" / "page.md").write_text("\n<!DOCTYPE html><html>Sign in</html>")
    serving = partial(Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serving) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            host = f"127.0.0.1:{server.server_port}"
            assert read(project, f"http://{host}/know.md?key=canary", host) == {"know.md": "# Know\n\nit"}
            for name, said in {
                "know.md?key=canary": "leads to 127.0.0.1 (127.0.0.1), which is no public address",
                "none.md?key=canary": "is not there (the server answered 404)",
                "secret.md?key=a%2Fcanary": "is refused (the server answered 403)",
                "moved.md?key=canary": "is refused (the server answered 403)",
                "page.md": "is a web page",
            }.items():
                with pytest.raises(DataError) as raised:
                    read(project, f"http://{host}/{name}", *([host] if "leads" not in said else []))
                assert said in str(raised.value) and "canary" not in str(raised.value)
                assert str(raised.value).startswith("evaluation.rag.documents: ")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("know", "no folder or file 'know'"),
        ("file://host/know", "names a host"),
        ("https://example.com/know/?key=canary", "web server, which lists no files"),
        ("https://id:canary@example.com/know.md", "has credentials in it"),
        ("https://conn@example.com/know.md", "web servers are read without one"),
        ("https://example.com?key=can@canary/know.md", "names an Airflow connection"),
        ("http://169.254.169.254/know.md?key=canary", r"know\.md\?key=\*\*\* leads to 169"),
        ("s3://id:canary@bucket/know", "has credentials in it"),
        (
            "s3://conn@bucket/know",
            "'conn' names an Airflow connection, which is known inside of Airflow only",
        ),
        ("zzz://place/know", "cannot be opened"),
        ("ssh://host/know", "cannot be opened: it is no store"),
        ("memory://a.md::http://127.0.0.1/know", "cannot be opened: it is no store, or chains"),
        ("../other", "is outside of the project"),
    ],
)
def test_a_place_that_cannot_be_read_is_named(project: Settings, place: str, expected: str) -> None:
    with pytest.raises(Exception, match=expected) as raised:
        read(project, place)
    assert type(raised.value).__module__ == "retune.errors"
    assert "canary" not in str(raised.value)


def test_an_empty_folder_is_named(project: Settings) -> None:
    write(project, "know/table.csv")
    with pytest.raises(DataError, match="'know' holds no document") as raised:
        read(project, "know")
    assert raised.value.problems[0].action.startswith("put .md or .txt files")


def test_documents_without_a_word_are_named(project: Settings) -> None:
    write(project, "know/a.md", " \n ")
    with pytest.raises(DataError, match="all documents of 'know' are empty"):
        read(project, "know")


def test_every_file_that_is_no_text_is_named_with_its_byte(project: Settings) -> None:
    write(project, "know/a.md", "gut")
    write(project, "know/b.md", "für".encode("latin-1"))
    write(project, "know/c.txt", b"\xff\xfeu\x00")
    with pytest.raises(DataError) as raised:
        read(project, "know")
    assert [(one.file, one.what) for one in raised.value.problems] == [
        ("b.md", "is not UTF-8: byte 1 is 0xfc"),
        ("c.txt", "is not UTF-8: byte 0 is 0xff"),
    ]


def test_links_do_not_lead_out_of_the_project(project: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "secret.md"
    outside.write_text("secret")
    write(project, "know/a.md")
    os.symlink(outside, project.project / "know" / "b.md")
    with pytest.raises(DataError, match=r"b\.md is a link that leads out of 'know'"):
        read(project, "know")
    os.symlink(tmp_path, project.project / "linked")
    with pytest.raises(DataError, match="'linked' is outside of the project"):
        read(project, "linked")
    assert read(project, str(outside)) == {"secret.md": "secret"}


def test_more_than_can_be_ranked_is_refused(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 100)
    write(project, "know/a.md", "x" * 101)
    with pytest.raises(DataError, match="'know' holds 101 bytes, and 100 are ranked at most"):
        read(project, "know")


def cut(text: str, words: int) -> list[str]:
    return [one.text for one in passages_of([Document("a.md", text, "sha256:0")], words)]


def test_paragraphs_stay_together_and_headings_with_what_follows() -> None:
    text = "# One\n\n" + "a " * 9 + "\n\n" + "b " * 9 + "\n\n# Two\n\n## Three\n\n" + "c " * 45 + "\n\nd"
    assert cut(text, 20) == [
        "# One\n\n" + "a " * 8 + "a\n\n" + "b " * 8 + "b",
        "# Two\n\n## Three\n\n" + "c " * 19 + "c",
        "c " * 19 + "c",
        "c " * 4 + "c\n\nd",
    ]


@given(st.text("ab# \n", max_size=400), st.integers(20, 40))
def test_no_word_is_lost_and_no_passage_is_long(text: str, most: int) -> None:
    found = cut(text, most)
    assert " ".join(found).split() == text.split()
    for one in found:
        whole = one.split("\n\n")
        under = [part for part in whole if not part.startswith("#")]
        assert 0 < len(" ".join(under).split()) <= most or not under

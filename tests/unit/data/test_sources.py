from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pytest

from retune.artifacts import digest_of
from retune.data.sources import Source, find_sources
from retune.errors import DataError, Problem
from retune.settings import EnvironmentFileSystems, Settings

GOOD = b'{"text": "where is it", "queue": "shipping"}\n'


@dataclass(frozen=True)
class Project:
    """A folder with sources."""

    settings: Settings

    @property
    def root(self) -> Path:
        return self.settings.project

    def write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    return Project(Settings.load({"project": str(root), "home": str(tmp_path / "home")}.get))


def find(project: Project, *patterns: str, hosts: tuple[str, ...] = ()) -> list[Source]:
    settings = replace(project.settings, sources_private_hosts=hosts)
    return find_sources(patterns, settings, EnvironmentFileSystems())


def problems(project: Project, *patterns: str) -> list[Problem]:
    with pytest.raises(DataError) as caught:
        find(project, *patterns)
    return caught.value.problems


def problem(project: Project, *patterns: str) -> str:
    (found,) = problems(project, *patterns)
    assert found.action
    return str(found)


def read(source: Source) -> tuple[bytes, str]:
    digests: list[str] = []
    return b"".join(source.stream(digests.append)), digests[0]


def flaw(source: Source) -> Problem:
    with pytest.raises(DataError) as caught:
        read(source)
    (found,) = caught.value.problems
    assert found.file == source.name and found.action
    return found


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], None]]:
    files = fsspec.filesystem("memory")
    yield files.pipe_file
    files.rm("/", recursive=True)


def test_files_are_found_by_name_and_sorted(project: Project, tmp_path: Path) -> None:
    for name in ("b.csv.gz", "a.JSONL", "c/d/e.ndjson.zst", "p.parquet", "[1].csv"):
        project.write(name, b"x")
    outside = tmp_path / "outside.csv"
    outside.write_bytes(b"ab")
    found = find(
        project, "*.csv.gz", "a.*", "c/**/*", "[1].csv", (project.root / "p.parquet").as_uri(), str(outside)
    )
    assert [(source.name, source.format, source.compression, source.size) for source in found] == [
        (str(outside), "csv", "", 2),
        ("[1].csv", "csv", "", 1),
        ("a.JSONL", "jsonl", "", 1),
        ("b.csv.gz", "csv", "gzip", 1),
        ("c/d/e.ndjson.zst", "jsonl", "zstd", 1),
        ("p.parquet", "parquet", "", 1),
    ]
    assert found[2].local == project.root / "a.JSONL"


def test_a_file_is_read_with_its_digest_also_in_another_process(project: Project) -> None:
    project.write("a.jsonl", GOOD)
    (source,) = find(project, "a.jsonl", "*.jsonl", "file://" + str(project.root / "a.jsonl"))
    assert read(pickle.loads(pickle.dumps(source))) == (GOOD, digest_of(GOOD))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.txt", "'.txt' is not a known format -> use .jsonl, .csv or .parquet (each plain, .gz or .zst)"),
        ("a.txt.gz", "'.txt.gz' is not a known format"),
        ("a.gz", "'.gz' is not a known format"),
        ("rows", "has no suffix that names a format"),
        ("a.parquet.gz", "'.parquet.gz' packs Parquet twice -> unpack it"),
    ],
)
def test_a_file_of_no_known_format_is_said(project: Project, name: str, words: str) -> None:
    project.write(name, b"x")
    assert problem(project, name).startswith(f"{name}: {words}")


def test_what_leaves_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(GOOD)
    project.write("in.jsonl", GOOD)
    (project.root / "link.jsonl").symlink_to(outside)
    (project.root / "folder").symlink_to(tmp_path)
    root = project.root
    for pattern, words in {
        "../outside.jsonl": "has a '..'",
        "folder/../in.jsonl": "has a '..'",
        "link.jsonl": "link.jsonl is a link out of the project",
        "folder/*.jsonl": "folder/outside.jsonl is a link out of the project",
        f"file://{root}/link.jsonl": "link.jsonl is a link out of the project",
        f"file://{outside}": "is outside of the project",
        f"FILE://{outside}": "is outside of the project",
        f"file://{root}/../outside.jsonl": "has a '..'",
        f"file://{root}/%2e%2e/outside.jsonl": "has a '..'",
        f"file://{root}/%2E%2e%2foutside.jsonl": "has a '..'",
        f"file://elsewhere{outside}": "names the host 'elsewhere'",
        f"file://{root}/in.jsonl%00": "holds a NUL",
        f"file:///{root}/%252e%252e/outside.jsonl": "no file",
        "file:///etc/passwd": "is outside of the project",
        "*\0.jsonl": "holds a NUL",
    }.items():
        assert words in problem(project, pattern), pattern
    assert find(project, str(outside))[0].local == outside


def test_links_that_lead_nowhere_and_what_is_no_file(project: Project) -> None:
    (project.root / "dangling.jsonl").symlink_to(project.root / "gone.jsonl")
    (project.root / "loop.jsonl").symlink_to(project.root / "loop.jsonl")
    (project.root / "folder.jsonl").mkdir()
    os.mkfifo(project.root / "pipe.jsonl")
    found = problems(project, "*.jsonl", "folder.jsonl", "gone.jsonl")
    assert [
        each.what.removeprefix("data.sources: ").removesuffix(f" in {project.root}") for each in found
    ] == [
        "dangling.jsonl is a link that leads to no file",
        "loop.jsonl is a link that leads to no file",
        "pipe.jsonl is no regular file",
        "folder.jsonl is a folder",
        "no file 'gone.jsonl'",
    ]


def test_a_link_inside_is_followed(project: Project) -> None:
    project.write("real/a.jsonl", GOOD)
    (project.root / "link.jsonl").symlink_to("real/a.jsonl")
    assert read(find(project, "link.jsonl")[0])[0] == GOOD


def test_no_match_is_said_without_secrets(project: Project, memory: Any) -> None:
    said = problem(project, "new/*.jsonl", "memory://nothing/*.csv")
    assert said == "data.sources: no file matches new/*.jsonl, memory://nothing/*.csv -> add a file"


def test_all_problems_come_together(project: Project) -> None:
    assert len(problems(project, "gone.jsonl", "../x.csv", "ssh://h/x.csv", "memory://gone.csv")) == 4


def as_nobody(act: Callable[[], Any]) -> Any:
    """Act as a user without rights; root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        return act()
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_is_said(project: Project) -> None:
    path = project.write("a.jsonl", GOOD)
    (source,) = find(project, "a.jsonl")
    path.chmod(0)
    assert as_nobody(lambda: flaw(source)).what == "may not be read by this user"


def test_a_file_that_vanished_is_said(project: Project) -> None:
    path = project.write("a.jsonl", GOOD)
    (source,) = find(project, "a.jsonl")
    path.unlink()
    assert flaw(source).what == "is gone since it was found"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_changes_while_it_is_read_is_said(project: Project, name: str) -> None:
    path = project.write(name, GOOD * 50_000)
    (source,) = find(project, name)
    digests: list[str] = []
    blocks = source.stream(digests.append)
    next(blocks)
    with path.open("ab") as file:
        file.write(GOOD)
    with pytest.raises(DataError, match="changed while it was read -> run again when it is written"):
        list(blocks)
    with pytest.raises(DataError, match="changed while it was read"), source.on_disk(digests.append) as same:
        assert same == path
        os.utime(path, ns=(1, 1))
    assert not digests


def test_a_store_is_searched_and_read(project: Project, memory: Any) -> None:
    memory("/data/a.jsonl", GOOD)
    memory("/data/deep/b.csv", b"x,y\n")
    memory("/data/c.txt", b"")
    found = find(project, "memory://data/*.jsonl", "memory://data/**/*.csv", "memory://data/a.jsonl")
    assert [(source.name, source.size, source.local) for source in found] == [
        ("memory://data/a.jsonl", len(GOOD), None),
        ("memory://data/deep/b.csv", 4, None),
    ]
    assert read(found[0]) == (GOOD, digest_of(GOOD))
    assert "memory://data/c.txt: '.txt' is not" in problem(project, "memory://data/*")
    assert "no file 'memory://data/gone.csv'" in problem(project, "memory://data/gone.csv")
    assert "it is a folder" in problem(project, "memory://data/deep")


def test_a_store_that_gives_other_bytes_than_it_listed_is_said(project: Project, memory: Any) -> None:
    memory("/a.jsonl", GOOD * 2)
    (source,) = find(project, "memory://a.jsonl")
    memory("/a.jsonl", GOOD)
    assert flaw(source).what == f"gave {len(GOOD)} bytes, and had {2 * len(GOOD)} when it was found"
    fsspec.filesystem("memory").rm("/a.jsonl")
    assert flaw(source).what == "is gone since it was found"


def test_what_must_lie_on_disk_is_copied_and_removed(project: Project, memory: Any) -> None:
    memory("/a.parquet", GOOD)
    (source,) = find(project, "memory://a.parquet")
    digests: list[str] = []
    with source.on_disk(digests.append) as path:
        assert path.read_bytes() == GOOD
    assert not path.exists() and digests == [digest_of(GOOD)]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://me:hunter2@h/x.csv", "ssh:// in 'ssh://***@h/x.csv' is not opened"),
        ("local:///etc/x.csv", "local:// in"),
        ("github://org:repo@main/x.csv", "github:// in"),
        ("reference://x.csv", "reference:// in"),
        ("jupyter://h/x.csv?token=hunter2", "token=***' is not opened"),
        ("simplecache::s3://b/x.csv", "chains file systems"),
        ("zip://*.csv::https://me:hunter2@h/x.zip", "chains file systems"),
        ("s3://b/x::memory://y.csv", "chains file systems"),
        ("gs://me:hunter2@b/x.csv", "has credentials, which gs:// does not read"),
        ("s3://b/x.csv?sig=hunter2", "the query of 's3://b/x.csv?sig=***' means nothing to s3://"),
        ("s3://key:hun/ter2@b/x.csv", "has a '/' in its credentials"),
        (
            "s3://my_aws@b/x.csv",
            "'my_aws' names an Airflow connection, which is known inside of Airflow only",
        ),
        ("https://h/*.csv", "is a glob, and web servers do not list files"),
        ("https://me:hunter2@[::1/x.csv", "is no URL"),
    ],
)
def test_urls_that_are_not_followed(project: Project, url: str, words: str) -> None:
    said = problem(project, url)
    assert words in said
    assert "hunter2" not in said and "ter2" not in said.replace("***", "")


@pytest.mark.skipif(find_spec("adlfs") is not None, reason="adlfs is installed")
def test_a_stores_package_that_is_missing_is_said(project: Project) -> None:
    said = problem(project, "abfs://box@account.dfs.core.windows.net/x.csv")
    assert "abfs:// needs a package" in said and said.endswith("-> install it")


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_bucket_with_credentials_needs_its_package_too(project: Project) -> None:
    said = problem(project, "s3://me:hunter2@rows/x.csv")
    assert "data.sources: 's3://***@rows/x.csv' cannot be opened: " in said and "s3fs" in said
    assert "hunter2" not in said

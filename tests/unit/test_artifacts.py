from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.artifacts import (
    Artifacts,
    canonical_json,
    digest_of,
    digest_of_json,
    digest_of_tree,
    write_atomically,
)
from retune.errors import ArtifactError

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text("abcdefgh-_. ", min_size=1, max_size=8).filter(lambda name: name.strip(". "))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=50), min_size=1, max_size=6
)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Artifacts]:
    if request.param == "file":
        yield Artifacts((tmp_path / "store").as_uri())
        return
    import fsspec

    yield Artifacts("memory://store")
    fsspec.filesystem("memory").store.clear()


def blobs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def grow(folder: Path, tree: dict[tuple[str, ...], bytes]) -> dict[str, bytes]:
    """Write what of the tree can stand together in a folder."""
    grown = {}
    for parts, data in tree.items():
        path = folder.joinpath(*parts)
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        grown[path.relative_to(folder).as_posix()] = data
    return grown


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in blobs(folder)}


def test_the_same_bytes_are_one_artifact(store: Artifacts) -> None:
    first, second = store.put_bytes(b"same", "text/plain"), store.put_bytes(b"same", "text/plain")
    assert first == second
    assert first.digest == digest_of(b"same")
    assert store.get_bytes(first.digest) == b"same"
    assert store.exists(first.digest) and not store.exists(digest_of(b"other"))


def test_a_file_and_its_bytes_are_the_same_artifact(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3 << 20))
    stored = store.put_file(tmp_path / "file", "x/y")
    assert stored == store.put_bytes((tmp_path / "file").read_bytes(), "x/y")
    assert store.get_bytes(stored.digest) == (tmp_path / "file").read_bytes()


@given(TREES)
def test_a_tree_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], bytes]
) -> None:
    place = tmp_path_factory.mktemp("tree")
    (place / "in").mkdir()
    grown = grow(place / "in", tree)
    store = Artifacts((place / "store").as_uri())
    stored = store.put_tree(place / "in")
    assert contents(store.get_tree(stored.digest, place / "out")) == grown
    assert stored.digest == digest_of_tree(place / "in") == digest_of_tree(place / "out")
    assert stored.size == sum(map(len, grown.values()))


def test_a_tree_is_named_by_its_files(store: Artifacts, tmp_path: Path) -> None:
    for name, data in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(data)
    digests = [store.put_tree(tmp_path / name).digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_links_and_empty_folders_are_refused(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(ArtifactError, match="holds no file"):
        store.put_tree(tmp_path / "tree")
    (tmp_path / "tree" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="is a link"):
        store.put_tree(tmp_path / "tree")


@pytest.mark.parametrize("damage", [b"", b"damaged", b"whole, and more"])
def test_a_damaged_blob_is_refused(tmp_path: Path, damage: bytes) -> None:
    store = Artifacts((tmp_path / "store").as_uri())
    digest = store.put_bytes(b"whole", "x/y").digest
    (blob,) = blobs(tmp_path / "store")
    blob.write_bytes(damage)
    with pytest.raises(ArtifactError, match="is damaged"):
        store.get_bytes(digest)


def test_a_tree_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / str(number)).write_bytes(bytes([number]))
    store = Artifacts((tmp_path / "store").as_uri())
    digest = store.put_tree(tmp_path / "in").digest
    name = digest_of(bytes([3])).removeprefix("sha256:")
    (tmp_path / "store" / name[:2] / name).unlink()
    with pytest.raises(ArtifactError, match="is not in"):
        store.get_tree(digest, tmp_path / "out" / "tree")
    assert not contents(tmp_path / "out"), "a half tree, or the rest of one, was left"


def test_several_may_fetch_one_tree_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(50):
        (tmp_path / "in" / str(number)).write_bytes(b"x" * number)
    store = Artifacts((tmp_path / "store").as_uri())
    digest = store.put_tree(tmp_path / "in").digest
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.get_tree(digest, tmp_path / "out"), range(8)))
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "store"]


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_tree_cannot_write_outside_itself(store: Artifacts, tmp_path: Path, name: str) -> None:
    blob = store.put_bytes(b"evil", "x/y")
    manifest = canonical_json({name: {"digest": blob.digest, "size": 4}})
    digest = store.put_bytes(manifest, "x/y").digest
    with pytest.raises(ArtifactError, match="outside itself"):
        store.get_tree(digest, tmp_path / "inside" / "tree")
    assert not (tmp_path / "outside").exists() and not (tmp_path / "inside" / "outside").exists()


def test_a_blob_is_no_tree(store: Artifacts, tmp_path: Path) -> None:
    for data in (b"no JSON", b"[1]", b'{"a": 1}'):
        digest = store.put_bytes(data, "x/y").digest
        with pytest.raises(ArtifactError, match="is no tree"):
            store.get_tree(digest, tmp_path / "tree")


@pytest.mark.parametrize("digest", ["", "abc", "md5:" + "0" * 64, "sha256:" + "0" * 63, "sha256:" + "/" * 64])
def test_a_name_that_is_no_digest_is_refused(store: Artifacts, digest: str) -> None:
    with pytest.raises(ArtifactError, match="not a digest"):
        store.get_bytes(digest)


def test_a_crash_leaves_no_half_blob(tmp_path: Path) -> None:
    """A process that dies in the middle of a write leaves nothing under the blob's name."""
    store = Artifacts((tmp_path / "store").as_uri())
    (tmp_path / "file").write_bytes(b"x" * (3 << 20))
    child = os.fork()
    if child == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        store.put_file(tmp_path / "file", "x/y")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1])
    digest = digest_of((tmp_path / "file").read_bytes())
    assert not store.exists(digest)
    assert store.get_bytes(store.put_file(tmp_path / "file", "x/y").digest) == b"x" * (3 << 20)


def test_a_full_disk_is_an_artifact_error(tmp_path: Path) -> None:
    import resource
    import signal

    store = Artifacts((tmp_path / "store").as_uri())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(ArtifactError, match="cannot store"):
            store.put_bytes(b"x" * 4096, "x/y")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not blobs(tmp_path / "store")


@given(JSON)
def test_canonical_json_is_json_and_one_form(value: object) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data
    assert digest_of_json(value) == digest_of(data)


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})


def test_an_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", b"old")
    write_atomically(tmp_path / "new" / "file", b"new")
    assert contents(tmp_path) == {"new/file": b"new"}

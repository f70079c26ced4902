"""The canonical file means the same to whoever reads it: every parser finds the same rows in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.data.prepare import prepare
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state.database import Database
from tests.unit.data.choosing import rows_of
from tests.unit.data.conftest import NOW, Project

SIDES = ("train", "validation", "held_out")
AWKWARD = (
    "line\u2028separator, paragraph\u2029separator, next\u0085line, form\x0cfeed",
    "👩\u200d👩\u200d👧\u200d👦 🏴\u200d☠️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff \ufffe \ue000",
    "e\u0301 Å ﬁ ½ ｶﾞ 한글 한글",
    "עברית \u202eright to left\u202c العربية ไทย हिन्दी 我的银行卡",
    "\"quoted\" 'single' `back` \\ \\\\ \\n \\u0041 \\\" / </script> <b>&amp;",
    "007", "1e5", "-0", "NaN", "null", "true", "1.10", "12345678901234567890123", "2026-11-23",
    "2026-11-23T12:00:00Z", "[1, 2]", '{"a": {"b": [null]}}', "{}", "0x1F", "Infinity",
    "tab\tand\nline\r\nends\rof all\n\n\nkinds",
    "a\x00nul and \ufeffbom and \x1b[0m",
    "very long " + "wörd 🚚 " * 15_000,
    "deep " + "[" * 500,
)  # fmt: skip
DEEP = json.dumps({"path": "C:\\new\\table", "say": '"hi" \u2028', "n": [1.10, -0.0, None, {"x": {"y": []}}]})


def call(name: str, arguments: str, number: int) -> dict[str, Any]:
    return {"id": f"00{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def chats() -> list[dict[str, Any]]:
    """Conversations of which some call tools, some name the speaker, and most do neither."""
    rows: list[dict[str, Any]] = []
    for n, (text, other) in enumerate(zip(AWKWARD, AWKWARD[3:] + AWKWARD[:3], strict=True)):
        turns: list[dict[str, Any]] = [{"role": "user", "content": text}]
        if n % 3 == 1:
            turns = [
                {"role": "system", "content": other},
                {"role": "user", "content": text, "name": "Zoë"},
                {"role": "assistant", "tool_calls": [call("look", DEEP, n), call("see", "{}", n + 1)]},
                {"role": "tool", "content": other, "tool_call_id": f"00{n}"},
                {"role": "tool", "content": "0", "tool_call_id": f"00{n + 1}"},
            ]
        if n % 3 == 2:
            turns += [{"role": "assistant", "content": other, "weight": 0}, {"role": "user", "content": text}]
        row: dict[str, Any] = {"messages": [*turns, {"role": "assistant", "content": other}]}
        if n % 3 == 1:
            row["tools"] = [{"type": "function", "function": {"name": "look", "parameters": {"é": [DEEP]}}}]
        rows.append(row)
    plain = [[("user", row["text"]), ("assistant", row["queue"])] for row in rows_of(5, 30)]
    return rows + [{"messages": [{"role": role, "content": text} for role, text in turns]} for turns in plain]


def preferences() -> list[dict[str, Any]]:
    return [{"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": [
        {"role": "assistant", "content": f"no: {row['messages'][-1]['content']}"}
    ]} for row in chats()]  # fmt: skip


@pytest.fixture(scope="module", params=["chat", "preference"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three sides, as files."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = Settings.load({"project": str(folder), "home": str(folder / "home")}.get)
    db = Database(settings.state_url)
    db.migrate()
    project = Project(settings, db, Artifacts(settings.artifacts_url))
    rows = chats() if request.param == "chat" else preferences()
    project.rows(rows)
    project.suite()
    spec = project.spec(columns={}, format=request.param, privacy="allow", near_duplicates=1,
                        split={"validation": 0.3, "held_out": 0.3, "leak_similarity": 1})  # fmt: skip
    spec = PipelineSpec.model_validate(
        {**spec.model_dump(mode="json", exclude_unset=True), "task": {"kind": "generation"}}
    )
    dataset = prepare(
        spec, settings=settings, db=db, artifacts=project.artifacts, now=NOW, report=lambda _: None
    )
    assert dataset.rows_read == len(rows)
    paths = {}
    for side in SIDES:
        paths[side] = folder / f"{side}.jsonl"
        paths[side].write_bytes(project.artifacts.get_bytes(getattr(dataset, side).artifact.digest))
    return paths


def by_orjson(path: Path) -> list[Any]:
    orjson = pytest.importorskip("orjson")
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def by_msgspec(path: Path) -> list[Any]:
    import msgspec

    return list(msgspec.json.Decoder().decode_lines(path.read_bytes()))


def by_polars(path: Path) -> list[Any]:
    import polars as pl

    return pl.read_ndjson(path, infer_schema_length=None).to_dicts()


def by_pandas(path: Path) -> list[Any]:
    import pandas as pd

    return pd.read_json(path, lines=True).to_dict("records")  # type: ignore[no-any-return]


def by_pyarrow(path: Path) -> list[Any]:
    import pyarrow.json as pj

    # A row longer than a block is an error, never another row.
    return pj.read_json(path, pj.ReadOptions(block_size=16 << 20)).to_pylist()  # type: ignore[no-any-return]


def by_datasets(path: Path) -> list[Any]:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed here")
    datasets.disable_progress_bars()
    return list(
        datasets.Dataset.from_json(str(path), cache_dir=str(path.parent / "cache"), keep_in_memory=True)
    )


def by_text_mode(path: Path) -> list[Any]:
    """As a script does that opens a file and goes through its lines."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def bare(value: Any) -> Any:
    """Return a value without what a table fills up where a row has no such field."""
    if isinstance(value, dict):
        return {key: bare(part) for key, part in value.items() if not nothing(part)}
    return [bare(part) for part in value] if isinstance(value, list) else value


def nothing(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, float) and value != value)


READERS = [by_orjson, by_msgspec, by_polars, by_pandas, by_pyarrow, by_datasets, by_text_mode]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("side", SIDES)
def test_every_parser_reads_the_same_rows(
    files: dict[str, Path], side: str, read: Callable[[Path], list[Any]]
) -> None:
    expected = [json.loads(line) for line in files[side].read_bytes().removesuffix(b"\n").split(b"\n")]
    found = read(files[side])
    assert len(found) == len(expected) > 5
    for one, other in zip(found, expected, strict=True):
        assert bare(one) == bare(other)
        assert json.dumps(bare(one), sort_keys=True) == json.dumps(bare(other), sort_keys=True)


def test_what_came_in_is_what_lies_there(files: dict[str, Path]) -> None:
    """Texts are cleaned, and nothing else happens to them."""
    rows = [json.loads(line) for path in files.values() for line in path.read_bytes().splitlines()]
    texts = {turn["content"] for row in rows for turn in row["messages"]}
    for text in (*AWKWARD[2:6], *AWKWARD[8:20]):
        assert text in texts or text.replace("e\u0301", "é") in texts, text
    assert "tab\tand\nline\nends\nof all\n\n\nkinds" in texts and "anul and bom and [0m" in texts
    calls = [made for row in rows for turn in row["messages"] for made in turn.get("tool_calls", ())]
    assert DEEP in {made["function"]["arguments"] for made in calls}


def test_the_bytes_are_canonical(files: dict[str, Path]) -> None:
    for path in files.values():
        data = path.read_bytes()
        assert data.endswith(b"}\n") and b"\r" not in data and not data.startswith(b"\xef\xbb\xbf")
        for line in data.removesuffix(b"\n").split(b"\n"):
            as_text = json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert json.loads(line) == json.loads(as_text) and len(as_text.encode()) == len(line)

"""What examples belong to is kept beside the judged sides, and follows them when a person is forgotten."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from retune.data.row_columns import slices_of
from retune.erasure.erase import erase
from retune.errors import DataError
from retune.records import Attributes, Dataset, Split
from retune.spec import PipelineSpec
from retune.state import artifacts_index
from retune.state.replaced import open_artifacts
from retune.state.subjects import subject_hash
from tests.unit.data.conftest import NOW, Project

REGIONS = ("north", "south", "east")


def rows(count: int = 40) -> list[dict[str, Any]]:
    queues = ("billing", "shipping", "returns", "account")
    return [
        {
            "text": f"ticket {number}",
            "queue": queues[number % 4],
            "customer": f"C-{number // 2}",
            "region": REGIONS[number % 3],
            "channel": number % 2,
        }
        for number in range(count)
    ]


def spec(project: Project, by: list[str] | None = None, **changed: Any) -> PipelineSpec:
    found = project.spec(**changed).to_json()
    found["gate"]["slices"] = {"by": by} if by else None
    return PipelineSpec.from_json(found)


def attributes(project: Project, split: Split) -> list[Attributes]:
    assert split.attributes is not None
    lines = project.artifacts.get_bytes(split.attributes.digest).splitlines()
    return [Attributes.model_validate_json(line) for line in lines]


def test_the_judged_sides_say_what_each_example_belongs_to(project: Project) -> None:
    given = rows()
    project.rows(given)
    dataset = project.prepare(spec(project, ["label", "region", "channel"], split={"group_by": "customer"}))
    assert dataset.train.attributes is None
    by_prompt = {row["text"]: row for row in given}
    groups: dict[str, set[str]] = {}
    for split in (dataset.validation, dataset.held_out):
        found = attributes(project, split)
        examples = project.read(split)
        assert [one.id for one in found] == [example.id for example in examples]
        for one, example in zip(found, examples, strict=True):
            row = by_prompt[example.prompt]
            assert one.slices == {"region": row["region"], "channel": str(row["channel"])}
            groups.setdefault(row["customer"], set()).add(one.group)
    digests = [digest for some in groups.values() for digest in some]
    assert len(digests) == len(groups) == len(set(digests)), "one digest a customer"
    assert all(len(digest) == 16 and int(digest, 16) for digest in digests)


def test_the_same_customer_has_another_digest_in_another_pipeline(project: Project) -> None:
    project.rows(rows())
    one = spec(project, split={"group_by": "customer"})
    other = one.model_copy(update={"pipeline": "other"})
    found = [
        {row.group for row in attributes(project, project.prepare(each).held_out)} for each in (one, other)
    ]
    assert found[0] and found[1] and found[0].isdisjoint(found[1])


def test_labels_alone_need_no_attributes(project: Project) -> None:
    project.rows(rows())
    dataset = project.prepare(spec(project, ["label"]))
    assert dataset.validation.attributes is None and dataset.held_out.attributes is None


def test_a_column_of_the_gates_slices_must_be_in_every_row(project: Project) -> None:
    given = rows()
    del given[6]["region"]
    project.rows(given)
    with pytest.raises(
        DataError, match=r"rows\.jsonl:7: column 'region' is missing; the row has text, queue"
    ):
        project.prepare(spec(project, ["region"]))


def test_slices_are_asked_of_plain_chats_too(project: Project) -> None:
    turns = [[{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"{n % 2}"}]
             for n in range(40)]  # fmt: skip
    project.rows([{"messages": some, "region": REGIONS[n % 3]} for n, some in enumerate(turns)])
    made = project.spec(format="chat", columns={}).to_json() | {"gate": {"slices": {"by": ["region"]}}}
    dataset = project.prepare(PipelineSpec.from_json(made))
    assert {row.slices["region"] for row in attributes(project, dataset.held_out)} <= set(REGIONS)
    # A chat without any other column takes a short way through intake.
    project.rows([{"messages": some} for some in turns])
    with pytest.raises(DataError, match=r"rows\.jsonl:1: column 'region' is missing; the row has messages"):
        project.prepare(PipelineSpec.from_json(made))


def test_slices_hold_no_personal_data_and_are_short() -> None:
    named = {
        "mail": "ann@example.org",
        "long": "word " * 30 + "bob@example.org",
        "none": "",
        "odd": "\x00 a\r\n",
    }
    found = json.loads(slices_of(named, tuple(named), "redact"))
    assert found["mail"] == "<EMAIL_1>" and found["none"] == "" and found["odd"] == "a"
    assert found["long"].startswith("word word") and len(found["long"]) <= 80
    allowed = json.loads(slices_of(named, ("mail",), "allow"))
    assert allowed == {"mail": "ann@example.org"}
    assert slices_of(named, (), "redact") == ""


def forgotten_in(project: Project, dataset: Dataset) -> list[list[str]]:
    """Ids of the attributes of the judged sides, read as somebody does who knows of replacements."""
    store = open_artifacts(project.settings, project.db)
    splits = (dataset.validation, dataset.held_out)
    return [
        [
            Attributes.model_validate_json(line).id
            for line in store.get_bytes(split.attributes.digest).splitlines()
        ]
        for split in splits
        if split.attributes
    ]


def test_attributes_of_a_forgotten_person_go_with_their_rows(project: Project) -> None:
    given = rows(80)
    for row in given[:40]:
        row["who"] = "ann@example.com" if row["region"] == "north" else ""
    for row in given[40:]:
        row["who"] = ""
    project.rows(given)
    columns = {"prompt": "text", "completion": "queue", "subject": "who"}
    dataset = project.prepare(spec(project, ["region"], columns=columns))
    before = forgotten_in(project, dataset)
    hers = {row["text"] for row in given if row["who"]}
    expected = [
        [example.id for example in project.read(split) if example.prompt not in hers]
        for split in (dataset.validation, dataset.held_out)
    ]
    assert sum(map(len, expected)) < sum(map(len, before))
    lines: list[str] = []
    erase(
        subject_hash("ann@example.com"),
        "cli:me",
        settings=project.settings,
        db=project.db,
        artifacts=open_artifacts(project.settings, project.db),
        now=NOW + timedelta(minutes=1),
        report=lines.append,
    )
    assert forgotten_in(project, dataset) == expected
    assert any(line.startswith("attributes of the held-out side of dataset sha256:") for line in lines)


def test_another_slice_is_the_same_dataset_and_no_cleanup_takes_its_attributes(project: Project) -> None:
    project.rows(rows())
    before = project.prepare(spec(project))
    # The dataset is known already, and so is its record, which names no attributes.
    dataset = project.prepare(spec(project, ["region"]))
    assert dataset.digest == before.digest
    with project.db.read() as tx:
        for split in (dataset.validation, dataset.held_out):
            assert split.attributes is not None
            assert artifacts_index.find(tx, "tickets", split.attributes.digest)

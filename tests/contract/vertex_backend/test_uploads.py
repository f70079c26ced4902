"""How the Vertex AI backend brings rows to the bucket: whole, and once."""

from __future__ import annotations

import pytest

from retune.backends.base import InDoubtError, TransientError
from retune.testing.emulators.process import Running
from tests.contract.vertex_house import Desk, lines, shown, submit
from tests.tuning import make_rows

UPLOAD = "POST /upload/storage/v1/b/{bucket}/o"


def test_rows_that_arrived_in_part_are_brought_again(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 500), make_rows(3, 600)))
    emulator.set_faults([{"on": UPLOAD, "do": "half_upload"}])
    _, job = submit(desk, order)
    spec = shown(desk, job)["supervisedTuningSpec"]
    assert len(lines(desk, spec["trainingDatasetUri"])) == 9
    assert len(lines(desk, spec["validationDatasetUri"])) == 3


def test_rows_that_never_arrive_whole_stop_before_anything_is_posted(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 700), make_rows(3, 800)))
    emulator.set_faults([{"on": UPLOAD, "do": "half_upload", "times": None}])
    posted: list[int] = []
    with pytest.raises(TransientError, match="did not arrive whole") as caught:
        desk.backend().submit(order, lambda: posted.append(1))
    assert not isinstance(caught.value, InDoubtError)
    assert posted == []


def test_a_truncated_object_is_replaced_and_a_whole_one_is_used_again(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 900), make_rows(3, 950)))
    _, first = submit(desk, order)
    uri = shown(desk, first)["supervisedTuningSpec"]["trainingDatasetUri"]
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    uploads = emulator.counts()[UPLOAD]
    submit(desk, desk.order(order.dataset))
    assert emulator.counts()[UPLOAD] == uploads
    blob = desk.storage.bucket(bucket).blob(name)
    whole = blob.download_as_bytes()
    blob.upload_from_string(whole[:-20])
    submit(desk, desk.order(order.dataset))
    assert blob.download_as_bytes() == whole


def test_rows_beyond_a_part_are_brought_in_pieces(desk: Desk, emulator: Running) -> None:
    rows = make_rows(90)
    for row in rows:
        row["messages"][0]["content"] += " " + "word " * 20_000
    order = desk.order(desk.dataset_of(rows, make_rows(3, 950)))
    _, job = submit(desk, order)
    assert emulator.counts()["PUT /upload/storage/v1/b/{bucket}/o"] >= 1
    assert len(lines(desk, shown(desk, job)["supervisedTuningSpec"]["trainingDatasetUri"])) == 90

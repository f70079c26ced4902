"""How the OpenAI backend brings rows to the service: once, whole, and looked at."""

from __future__ import annotations

import pytest

from retune.backends import openai_files
from retune.backends.base import TransientError
from retune.errors import BackendError
from retune.records import Dataset, JobStatus
from tests.contract.house import ended
from tests.contract.openai_house import Desk, submitted
from tests.tuning import make_rows


def lines_of(desk: Desk, data: Dataset) -> bytes:
    rows = openai_files.rows_of(desk.order(data), "train", desk.bench.artifacts)
    return openai_files.lines_of(rows, "sft")


def test_rows_go_up_once_under_the_name_of_their_content(desk: Desk) -> None:
    data = desk.dataset_of(make_rows(12, 5000), make_rows(3, 6000))
    backend = desk.backend()
    before = desk.emulator.counts().get("POST /v1/files", 0)
    first, second = (submitted(backend, desk.order(data)) for _ in range(2))
    assert desk.emulator.counts()["POST /v1/files"] == before + 2
    files = backend._account.client.files
    jobs = [backend._jobs.retrieve(job.provider_id) for job in (first, second)]
    assert jobs[0].training_file == jobs[1].training_file
    assert jobs[0].validation_file == jobs[1].validation_file != jobs[0].training_file
    kept = files.retrieve(jobs[0].training_file)
    lines = lines_of(desk, data)
    assert kept.filename.startswith("retune-") and kept.bytes == len(lines)
    assert files.content(kept.id).content == lines


@pytest.mark.parametrize("whole_bytes", [openai_files.WHOLE_BYTES, 400], ids=["in one piece", "in parts"])
def test_a_cut_upload_is_started_again(desk: Desk, whole_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_files, "WHOLE_BYTES", whole_bytes)
    route = "POST /v1/files" if whole_bytes > 400 else "POST /v1/uploads/{upload_id}/parts"
    desk.emulator.set_faults([{"on": route, "do": "half_upload"}])
    data = desk.dataset_of(make_rows(14, 7000 + whole_bytes % 900), make_rows(3, 8000))
    backend = desk.backend()
    job = backend._jobs.retrieve(submitted(backend, desk.order(data)).provider_id)
    lines = lines_of(desk, data)
    files = backend._account.client.files
    assert files.content(job.training_file).content == lines
    name = files.retrieve(job.training_file).filename
    assert [file.id for file in files.list(purpose="fine-tune") if file.filename == name] == [
        job.training_file
    ]


def test_an_upload_that_is_always_cut_is_not_trained_on(desk: Desk) -> None:
    desk.emulator.set_faults([{"on": "POST /v1/files", "do": "half_upload", "times": None}])
    order = desk.order(desk.dataset_of(make_rows(13, 9000), make_rows(3, 9100)))
    with pytest.raises(TransientError, match="did not keep all"):
        desk.backend().submit(order, lambda: pytest.fail("nothing may be posted"))
    assert not desk.emulator.jobs(retune_key=order.key)


def test_a_file_that_is_refused_is_shown_in_the_services_words_and_not_used_again(desk: Desk) -> None:
    fault = {"on": "POST /v1/files", "do": "bad_file", "message": "Line 3 is not a dictionary"}
    desk.emulator.set_faults([fault])
    order = desk.order(desk.dataset_of(make_rows(13, 9200), make_rows(3, 9300)))
    with pytest.raises(BackendError, match="Line 3 is not a dictionary") as caught:
        desk.backend().submit(order, lambda: pytest.fail("nothing may be posted"))
    assert not isinstance(caught.value, TransientError)
    submitted(desk.backend(), order)


def test_a_file_is_waited_for_until_it_is_processed(desk: Desk) -> None:
    desk.emulator.set_options(file_s=0.7)
    order = desk.order(desk.dataset_of(make_rows(13, 9400), make_rows(3, 9500)))
    assert ended(desk.backend(), submitted(desk.backend(), order)).status is JobStatus.SUCCEEDED

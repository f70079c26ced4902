"""A tuning job as Vertex AI shows it."""

from __future__ import annotations

from typing import Any

from retune.testing.emulators.lifecycle import Phase
from retune.testing.emulators.options import Options
from retune.testing.emulators.vertex_names import timestamp
from retune.testing.emulators.vertex_work import Job, state_of

_CANCELLED = 1  # google.rpc.Code
# Share of the running time -> what the job is doing.
_STAGES = ((0.1, "PROCESSING_DATASET"), (0.9, "TUNING"), (1.0, "POST_PROCESSING"))


def shown(job: Job, now: float, options: Options) -> dict[str, Any]:
    """Return a job as Vertex AI shows it.

    Args:
        job: The job, moved on until now.
        now: Seconds since 1970.
        options: Say how long its phases are.
    """
    state, entered = state_of(job, now, options), job.life.entered
    answer = {**job.fields, "state": state, "updateTime": timestamp(job.life.since)}
    if Phase.RUNNING in entered:
        answer |= {
            "startTime": timestamp(entered[Phase.RUNNING]),
            "experiment": job.experiment,
            "tuningDataStats": job.stats,
            **_progress(job, now, options),
        }
    if job.life.phase.ended and state != "JOB_STATE_CANCELLING":
        answer["endTime"] = timestamp(job.life.since)
    if state == "JOB_STATE_FAILED":
        answer["error"] = {name: job.life.error[name] for name in ("code", "message")}
    if state == "JOB_STATE_CANCELLED":
        answer["error"] = {"code": _CANCELLED, "message": "The tuning job was cancelled."}
    return answer


def _progress(job: Job, now: float, options: Options) -> dict[str, Any]:
    """Return what a job that runs or ran has made."""
    share, good = job.life.share(now, options.seconds), job.life.phase == Phase.SUCCEEDED
    epochs = [epoch for epoch in job.checkpoint_epochs if epoch <= share * job.epochs + 1e-9]
    answer: dict[str, Any] = {"tuningJobMetadata": {"completedEpochCount": str(int(share * job.epochs))}}
    if job.life.phase == Phase.RUNNING:
        stage = next(name for until, name in _STAGES if share <= until)
        answer["tuningJobState"] = f"TUNING_JOB_STATE_{stage}"
    if not epochs and not good:
        return answer
    model: dict[str, Any] = {"model": job.model}
    if good and not job.is_open:
        model["endpoint"] = job.endpoint(len(job.checkpoint_epochs))
    if not job.fields[job.spec].get("exportLastCheckpointOnly"):
        model["checkpoints"] = [_checkpoint(job, number) for number in range(1, len(epochs) + 1)]
    return {**answer, "tunedModel": model}


def _checkpoint(job: Job, number: int) -> dict[str, Any]:
    epoch = job.checkpoint_epochs[number - 1]
    answer = {
        "checkpointId": str(number),
        "epoch": str(epoch),
        "step": str(job.steps * epoch // job.epochs),
    }
    return answer if job.is_open else {**answer, "endpoint": job.endpoint(number)}

"""Vertex AI's `tuningJobs`: create, get, list, cancel.

`POST ...:cancel` of a job that has ended is refused; what Vertex AI says there is published nowhere. A page
of a list has at most 100 jobs, as other lists of Vertex AI.
"""

from __future__ import annotations

import base64
import math
from functools import cache
from typing import Any

from retune.testing.emulators.gcs_objects import Objects, Stored
from retune.testing.emulators.lifecycle import Life, Phase
from retune.testing.emulators.options import Options
from retune.testing.emulators.server import Call, Route
from retune.testing.emulators.store import Entry, Store
from retune.testing.emulators.training import defaults
from retune.testing.emulators.vertex_contract import PREFIX, vertex_contract
from retune.testing.emulators.vertex_datasets import MOST_VALIDATION, Found, examine, statistics_of
from retune.testing.emulators.vertex_filters import label_equalities, parse_filter
from retune.testing.emulators.vertex_names import fresh_number, project_number, service_agent, timestamp
from retune.testing.emulators.vertex_refusals import VertexRefused, bad_fields
from retune.testing.emulators.vertex_requests import read_request, snake
from retune.testing.emulators.vertex_specs import Order, read_order
from retune.testing.emulators.vertex_view import shown
from retune.testing.emulators.vertex_work import Job, Work, stored

_MOST_LISTED = 100
_BATCH = 8
_FILTERED = {
    "base_model": "baseModel",
    "create_time": "createTime",
    "display_name": "tunedModelDisplayName",
    "labels": "labels",
    "state": "state",
    "tuned_model_display_name": "tunedModelDisplayName",
}
_INVALID_ARGUMENT, _INTERNAL = 3, 13  # google.rpc.Code
_PARENT = "/v1beta1/projects/{project}/locations/{location}/tuningJobs"


class Jobs:
    """The routes of tuning jobs.

    Args:
        store: Where they lie.
        objects: What they train on.
        work: Moves them on.
    """

    def __init__(self, store: Store, objects: Objects, work: Work) -> None:
        self._store = store
        self._objects = objects
        self._work = work
        # Many jobs may use one file, and other bytes have another digest.
        self._examined = cache(self._examine)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", _PARENT, self._create),
            Route("GET", _PARENT, self._list),
            Route("GET", f"{_PARENT}/{{job}}", self._get),
            Route("POST", f"{_PARENT}/{{job}}:cancel", self._cancel),
        ]

    async def _create(self, call: Call) -> dict[str, Any]:
        asked = await read_request(call, vertex_contract(), f"{PREFIX}TuningJob", "tuning_job")
        project, location = project_number(call.path("project")), call.path("location")
        before = self._tuned_before(asked, call)
        base = before.base if before else asked.get("baseModel", "")
        order = read_order(asked, base, location, call.options, call.now)
        if before:
            order.fields["preTunedModel"]["baseModel"] = base
        found, error = self._read_data(order, project, call)
        steps = math.ceil(max(1, found.examples) / _batch(order, call.options)) * order.epochs
        name = f"projects/{project}/locations/{location}/tuningJobs/{fresh_number()}"
        job = Job(
            fields={"name": name, **order.fields, "createTime": timestamp(call.exists_at)},
            life=_life(call, error),
            spec=order.spec,
            project=project,
            # "The service resolves `global` to a real region", says Google's tuning skill for agents.
            location="us-central1" if location == "global" else location,
            is_open=order.model.is_open,
            base=order.model.name,
            epochs=order.epochs,
            steps=steps,
            tokens=found.tokens * order.epochs,
            stats=statistics_of(found, order.spec, steps) if not found.error else {},
        )
        self._store.add(
            "job",
            job.id,
            stored(job),
            at=call.exists_at,
            visible_at=call.visible_at,
            labels={**order.fields.get("labels", {}), **_scope(project, location)},
            job=True,
        )
        return self._answer(job, call)

    def _tuned_before(self, asked: dict[str, Any], call: Call) -> Job | None:
        """Return the job whose model a request goes on from."""
        if "preTunedModel" not in asked:
            return None
        name = asked["preTunedModel"].get("tunedModelName", "")
        found = self._store.get("model", name.rpartition("/")[2].partition("@")[0], call.now)
        if found is None:
            raise VertexRefused(404, f"The Model {name} is not found.")
        entry = self._store.get("job", found.body["job"], call.now)
        return Job.of(entry.body) if entry else None

    def _read_data(self, order: Order, project: str, call: Call) -> tuple[Found, dict[str, Any] | None]:
        """Return what the training data are, and why the job is going to fail over its data."""
        errors, spec = [], order.fields[order.spec]
        found = {}
        for name in ("trainingDatasetUri", "validationDatasetUri"):
            if name not in spec:
                continue
            stored = self._data(spec[name], f"tuning_job.{snake(order.spec)}.{snake(name)}", project, call)
            found[name] = self._examined(stored.digest, spec[name], order.spec, order.model.is_open)
            error = _flaw(stored) or found[name].error
            if name == "validationDatasetUri" and found[name].examples > MOST_VALIDATION:
                error = f"{found[name].examples} examples, at most {MOST_VALIDATION} are supported."
            if error:
                errors.append(_bad_data(spec[name], error))
        return found["trainingDatasetUri"], errors[0] if errors else None

    def _data(self, uri: str, field: str, project: str, call: Call) -> Stored:
        try:
            return self._objects.read(uri, call.now)
        except PermissionError as error:
            message = (
                f"{service_agent(project)} does not have storage.objects.get access to the Google Cloud"
                f" Storage object {uri}. Permission 'storage.objects.get' denied on resource (or it may not"
                " exist)."
            )
            raise VertexRefused(403, message) from error
        except LookupError as error:
            raise bad_fields([(field, f"Cannot find the Google Cloud Storage object {uri}.")]) from error

    def _examine(self, digest: str, uri: str, spec: str, is_open: bool) -> Found:
        return examine(self._store.read_file(digest), spec, is_open)

    async def _list(self, call: Call) -> dict[str, Any]:
        given = call.request.query_params
        limit = min(int(given.get("pageSize") or _MOST_LISTED), _MOST_LISTED)
        if limit < 0:
            raise bad_fields([("page_size", "page_size must not be negative.")])
        scope = _scope(project_number(call.path("project")), call.path("location"))
        after, text = self._after(given.get("pageToken", ""), call), given.get("filter", "")
        with self._store.transaction():
            jobs, has_more = self._page(text, scope, after, limit or _MOST_LISTED, call)
        answer: dict[str, Any] = {}
        if jobs:
            answer["tuningJobs"] = [self._answer(job, call) for job in jobs]
        if has_more:
            answer["nextPageToken"] = base64.urlsafe_b64encode(jobs[-1].id.encode()).decode()
        return answer

    def _page(
        self, text: str, scope: dict[str, str], after: Entry | None, limit: int, call: Call
    ) -> tuple[list[Job], bool]:
        """Return a page of the jobs that a filter takes, newest first, and whether more follow."""
        labels = label_equalities(text)
        if labels is not None:
            page = self._store.page("job", call.now, limit=limit, after=after, labels={**scope, **labels})
            return [self._work.look(entry, call.now, call.options) for entry in page.entries], page.has_more
        takes, found = parse_filter(text, _FILTERED), []
        while True:
            page = self._store.page("job", call.now, limit=_MOST_LISTED, after=after, labels=scope)
            for entry in page.entries:
                job = self._work.look(entry, call.now, call.options)
                if takes(shown(job, call.now, call.options)):
                    found.append(job)
            if len(found) > limit or not page.has_more:
                return found[:limit], len(found) > limit
            after = page.entries[-1]

    def _after(self, token: str, call: Call) -> Entry | None:
        if not token:
            return None
        try:
            found = self._store.get("job", base64.urlsafe_b64decode(token).decode(), call.now)
        except ValueError:
            found = None
        if found is None:
            raise bad_fields([("page_token", "page_token is invalid.")])
        return found

    async def _get(self, call: Call) -> dict[str, Any]:
        return self._answer(self._job(call), call)

    async def _cancel(self, call: Call) -> dict[str, Any]:
        job = self._job(call)
        if job.life.phase.ended:
            message = f"The tuning job {job.fields['name']} has ended and cannot be cancelled."
            raise VertexRefused(400, message, kind="FAILED_PRECONDITION")
        job.life.cancel(call.now)
        self._work.record(job, [Phase.CANCELLED])
        return {}

    def _job(self, call: Call) -> Job:
        number, location = project_number(call.path("project")), call.path("location")
        name = f"projects/{number}/locations/{location}/tuningJobs/{call.path('job')}"
        found = self._store.get("job", call.path("job"), call.now)
        if found is None or found.body["fields"]["name"] != name:
            raise VertexRefused(404, f"The TuningJob {name} is not found.")
        return self._work.look(found, call.now, call.options)

    def _answer(self, job: Job, call: Call) -> dict[str, Any]:
        answer = shown(job, call.now, call.options)
        if rule := call.does("unknown_status"):
            answer["state"] = str(rule.status or "JOB_STATE_ON_HOLD")
        return answer


def _batch(order: Order, options: Options) -> int:
    usual = defaults(options)["batch_size"] if options.train_base else _BATCH
    return int(order.fields[order.spec]["hyperParameters"].get("batchSize", usual))


def _scope(project: str, location: str) -> dict[str, str]:
    """Return labels that no user can set, by which the lists of a place are found."""
    return {"@project": project, "@location": location}


def _life(call: Call, error: dict[str, Any] | None) -> Life:
    if rule := call.does("bad_file"):
        error = _bad_data("the training dataset", rule.message or f"Row: {rule.line or 1}. Invalid example.")
    if error is not None:
        return Life.begin(call.exists_at, Phase.VALIDATING, error)
    if rule := call.does("fail_job"):
        default = {"code": _INTERNAL, "message": "The tuning job failed due to an internal error."}
        return Life.begin(call.exists_at, rule.phase, {**default, **rule.error})
    return Life.begin(call.exists_at)


def _flaw(stored: Stored) -> str:
    if stored.flaw is None:
        return ""
    return stored.flaw["message"] or f"Row: {stored.flaw['line'] or 1}. Invalid example."


def _bad_data(what: str, error: str) -> dict[str, Any]:
    return {"code": _INVALID_ARGUMENT, "message": f"Failed to validate {what}: {error}"}

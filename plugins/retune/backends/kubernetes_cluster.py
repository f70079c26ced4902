"""The few requests to a cluster that a training job needs, with errors that say whether to ask again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from retune.backends.base import TransientError
from retune.backends.kubernetes_manifest import CANCELLED, JOB_LABEL
from retune.errors import BackendError, SetupError

_WITHIN_S = (10.0, 60.0)
"""To connect, and for each piece of an answer."""
_BUSY = frozenset({408, 409, 429})


class Cluster:
    """One namespace of a cluster. Objects are those of the `kubernetes` package (V1Job, V1Pod).

    Every method raises TransientError where the cluster does not answer or is busy, and BackendError
    where it refuses.

    Args:
        connect: Returns a kubernetes.client.ApiClient.
        namespace: Where the jobs are.
    """

    def __init__(self, connect: Callable[[], Any], namespace: str) -> None:
        self.namespace = namespace
        self._connect = connect

    def create_job(self, manifest: Mapping[str, Any]) -> Any | None:
        """Create a Job and return it, or None where there is one of its name."""
        return self._ask("create_namespaced_job", 409, namespace=self.namespace, body=manifest)

    def job(self, name: str) -> Any | None:
        """Return a Job, or None where there is none."""
        return self._ask("read_namespaced_job", 404, name=name, namespace=self.namespace)

    def cancel_job(self, name: str) -> None:
        """Mark a Job as cancelled and end its pods, both at once; nothing where there is none."""
        body = {"metadata": {"annotations": {CANCELLED: "true"}}, "spec": {"suspend": True}}
        self._ask("patch_namespaced_job", 404, name=name, namespace=self.namespace, body=body)

    def delete_job(self, name: str) -> None:
        """Delete a Job and its pods; nothing where there is none."""
        self._ask(
            "delete_namespaced_job",
            404,
            name=name,
            namespace=self.namespace,
            propagation_policy="Background",
        )

    def newest_pod(self, name: str) -> Any | None:
        """Return a Job's latest pod, or None where none is left."""
        found = self._ask_core(
            "list_namespaced_pod", None, namespace=self.namespace, label_selector=f"{JOB_LABEL}={name}"
        ).items
        return max(found, key=lambda pod: pod.metadata.creation_timestamp, default=None)

    def log(self, pod: str, last_lines: int | None = None) -> str:
        """Return a pod's log, or its last lines; empty where it has none yet, or none any more."""
        given = {} if last_lines is None else {"tail_lines": last_lines}
        # Unloaded: the client would take a line of JSON for an object.
        found = self._ask_core(
            "read_namespaced_pod_log",
            (400, 404),
            name=pod,
            namespace=self.namespace,
            _preload_content=False,
            **given,
        )
        return "" if found is None else found.data.decode(errors="replace")

    @cached_property
    def _apis(self) -> tuple[Any, Any]:
        from kubernetes import client
        from kubernetes.client.rest import RESTClientObject

        connected = self._connect()
        # Left to itself, it sleeps in here for as long as a Retry-After says.
        connected.configuration.retries = False
        connected.rest_client = RESTClientObject(connected.configuration)
        return client.BatchV1Api(connected), client.CoreV1Api(connected)

    def _ask(self, method: str, nothing: int | tuple[int, ...] | None, **given: Any) -> Any:
        with self._told():
            return _unless(getattr(self._apis[0], method), nothing, given)

    def _ask_core(self, method: str, nothing: int | tuple[int, ...] | None, **given: Any) -> Any:
        with self._told():
            return _unless(getattr(self._apis[1], method), nothing, given)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what may pass from what may not."""
        try:
            from kubernetes.client import ApiException
        except ImportError as error:
            raise BackendError(f"kubernetes: {error}", "install the `kubernetes` extra") from error
        from urllib3.exceptions import HTTPError

        try:
            yield
        except SetupError as error:
            raise BackendError(error.problems) from error
        except ApiException as error:
            raise self._refusal(error) from error
        except (HTTPError, OSError) as error:
            raise TransientError(f"the cluster does not answer: {type(error).__name__}") from error

    def _refusal(self, error: Any) -> BackendError:
        what = f"the cluster answered {error.status} {error.reason}: {_message(error)}"
        if error.status in _BUSY or error.status >= 500 or error.status == 0:
            after = (error.headers or {}).get("Retry-After", "")
            return TransientError(what, retry_after_s=float(after) if after.isdigit() else None)
        action = {
            401: "mend the connection's credentials",
            403: f"let the connection's account manage jobs, and read pods and logs, in {self.namespace}",
            404: f"create the namespace {self.namespace}, or name another in the recipe",
        }
        return BackendError(what, action.get(error.status, "mend the recipe"))


def _unless(call: Callable[..., Any], nothing: int | tuple[int, ...] | None, given: dict[str, Any]) -> Any:
    """Return what a call brings, or None where the cluster answers by one of these codes."""
    from kubernetes.client import ApiException

    codes = (nothing,) if isinstance(nothing, int) else nothing or ()
    try:
        return call(**given, _request_timeout=_WITHIN_S)
    except ApiException as error:
        if error.status in codes:
            return None
        raise


def _message(error: Any) -> str:
    """Return the sentence of a Status answer (kubernetes.io/docs/reference, v1.Status)."""
    import json

    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        return str(error.body or "")[:200]

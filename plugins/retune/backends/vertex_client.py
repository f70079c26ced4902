"""One project and region of Vertex AI, as google-genai reaches it, with its errors translated.

Read of google-genai 2.34: `HttpOptions.timeout` counts milliseconds; a page without jobs ends the
iteration of a pager by an IndexError, so pages are turned one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from retune.backends.base import InDoubtError, JobGoneError
from retune.backends.vertex_errors import Where, read, translated
from retune.errors import BackendError, RetuneError
from retune.settings import Connections, GoogleAccount

if TYPE_CHECKING:
    from google.genai import Client, types

READ_S = 30.0
"""Longest wait for an answer to a request that changes nothing."""
_LISTING = "the tuning jobs cannot be listed"
PAGE = 100
"""Jobs of a page, the most that Vertex AI's lists give."""


class VertexClient:
    """Opens nothing until it is first asked.

    Args:
        connections: Where credentials come from.
        place: A recipe's: `connection`, `location`, `bucket`.
    """

    def __init__(self, connections: Connections, place: Mapping[str, str]) -> None:
        self._connections = connections
        self.connection = place.get("connection", "google_cloud_default")
        self.location = place.get("location", "us-central1")
        self.bucket = place.get("bucket", "").rstrip("/")

    @cached_property
    def account(self) -> GoogleAccount:
        """The project with its credentials; raises SetupError where the connection says too little."""
        return self._connections.google(self.connection)

    def url_of(self, name: str) -> str:
        """Return the address of a resource, which lies in the region that its name says."""
        region = name.split("/")[3]
        host = "aiplatform" if region == "global" else f"{region}-aiplatform"
        base = self.account.endpoint.rstrip("/") or f"https://{host}.googleapis.com"
        return f"{base}/v1beta1/{name}"

    @cached_property
    def _genai(self) -> Client:
        try:
            from google import genai
            from google.genai import types
        except ImportError as error:
            raise BackendError(f"backend vertex: {error}", "install the `vertex` extra") from error
        # Said once a process, on the standard error of whoever tunes.
        warnings.filterwarnings("ignore", "The SDK's tuning implementation is experimental")
        return genai.Client(
            vertexai=True,
            project=self.account.project,
            location=self.location,
            credentials=self.account.credentials,
            http_options=types.HttpOptions(
                base_url=self.account.endpoint or None,
                timeout=_ms(READ_S),
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

    def where(self, base_model: str = "") -> Where:
        """Return what an error should name."""
        return Where(self.connection, self.account.project, self.location, self.bucket, base_model)

    def create(
        self,
        base_model: str,
        rows: str,
        config: Mapping[str, Any],
        posting: Callable[[], None],
        timeout_s: float,
    ) -> types.TuningJob:
        """Make a tuning job.

        Args:
            base_model: As Vertex AI names it.
            rows: gs:// of the training rows.
            config: Fields of `CreateTuningJobConfig`.
            posting: Called right before the request.
            timeout_s: Longest wait for the answer.

        Raises:
            InDoubtError: The job may be there.
            TransientError: It was refused for now.
            BackendError: It was refused for good.
        """
        tunings, where = self._genai.tunings, self.where(base_model)
        from google.genai import types

        options = types.HttpOptions(timeout=_ms(timeout_s))
        # A dict in place of the class would lose fields on its way.
        made = types.CreateTuningJobConfig(**config, http_options=options)
        dataset = types.TuningDataset(gcs_uri=rows)
        posting()
        with _translating("the tuning job could not be made", where, submitting=True):
            job: types.TuningJob = tunings.tune(base_model=base_model, training_dataset=dataset, config=made)
        if not job.name:
            raise InDoubtError("Vertex AI answered without the job's name", "the job may be there")
        return job

    def get(self, name: str) -> types.TuningJob:
        """Return a job; raises JobGoneError where Vertex AI does not know it."""
        with _translating(f"{name} cannot be read", self.where(), job=name):
            return self._genai.tunings.get(name=name)

    def cancel(self, name: str) -> None:
        """Ask for a job's end; raises JobGoneError where Vertex AI does not know it."""
        with _translating(f"{name} cannot be cancelled", self.where(), job=name):
            self._genai.tunings.cancel(name=name)

    def pages(self, filter_text: str) -> Iterator[Sequence[types.TuningJob]]:
        """Yield the region's jobs that a filter (https://google.aip.dev/160) takes, page by page.

        Which fields a filter may name is published for other jobs, not for these: labels are taken to
        work as in `customJobs.list`, and where the filter is refused all jobs come.
        """
        tunings = self._genai.tunings
        with _translating(_LISTING, self.where()):
            try:
                pager = tunings.list(config=_listing(filter_text))
            except Exception as error:
                if not _is_bad(error):
                    raise
                pager = tunings.list(config=_listing(""))
            yield pager.page
            while pager.config.get("page_token"):
                yield pager.next_page()


def _is_bad(error: Exception) -> bool:
    found = read(error)
    return found is not None and found.code == 400


def _listing(filter_text: str) -> Any:
    from google.genai import types

    return types.ListTuningJobsConfig(page_size=PAGE, filter=filter_text)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@contextmanager
def _translating(doing: str, where: Where, submitting: bool = False, job: str = "") -> Iterator[None]:
    """Turn what Google's libraries raise into a BackendError.

    Args:
        doing: What is tried.
        where: What is asked.
        submitting: Whether it may cost money.
        job: The job that is asked for; one that is not there is gone.
    """
    try:
        yield
    except RetuneError:
        raise
    except Exception as error:  # the SDK, its transports and its parsers raise many kinds
        found = read(error)
        if job and found is not None and found.code == 404:
            raise JobGoneError(f"Vertex AI does not know {job}: {found.message}", "see its console") from None
        raise translated(error, doing, where, submitting) from None

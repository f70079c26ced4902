"""How failed requests to a provider are borne: a few in a row, with growing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from retune.backends.base import InDoubtError, JobGoneError, TransientError
from retune.errors import BackendError

MOST_IN_A_ROW = 8
_FIRST_S, _LONGEST_S = 1.0, 120.0

Found = TypeVar("Found")


class Patience:
    """Counts failures in a row of looks at one thing, and says how long to wait after each.

    The pauses double and are jittered ("full jitter", aws.amazon.com/blogs/architecture/
    exponential-backoff-and-jitter), so that many who wait do not come back together; a provider's
    Retry-After is the least.

    Args:
        gone_within_s: How long a job may be unknown to its provider before it counts as vanished.
        most: Failures in a row that are one too many.
    """

    def __init__(self, gone_within_s: float = 0.0, most: int = MOST_IN_A_ROW) -> None:
        self._most = most
        self._gone_within_s = gone_within_s
        self._failures = 0
        self._gone_since: float | None = None

    def worked(self) -> None:
        """Forget the failures: a look brought an answer."""
        self._failures, self._gone_since = 0, None

    def failed(self, error: BackendError, now: float) -> float:
        """Return the seconds to wait before the next look.

        Args:
            error: What the look brought.
            now: Seconds of a monotonic clock.

        Raises:
            BackendError: The error itself, where another look would not help any more.
        """
        if not isinstance(error, TransientError):
            raise error
        self._failures += 1
        if isinstance(error, JobGoneError):
            self._gone_since = now if self._gone_since is None else self._gone_since
            if now - self._gone_since >= self._gone_within_s and self._failures > 1:
                raise error
        elif self._failures >= self._most:
            raise error
        pause = random.uniform(0.5, 1.0) * min(_FIRST_S * 2.0 ** (self._failures - 1), _LONGEST_S)
        return max(pause, error.retry_after_s or 0.0)


def patiently(call: Callable[[], Found], report: Callable[[str], None], gone_within_s: float = 0.0) -> Found:
    """Return what a request that changes nothing brings, asking again while that may help.

    Args:
        call: The request.
        report: Takes a line for each failure.
        gone_within_s: As Patience takes it.

    Raises:
        BackendError: It failed for good, or too often in a row.
    """
    patience = Patience(gone_within_s)
    while True:
        try:
            return call()
        except InDoubtError:
            raise
        except TransientError as error:
            pause = patience.failed(error, time.monotonic())
            report(f"{error}; asking again in {pause:.0f} s")
            time.sleep(pause)

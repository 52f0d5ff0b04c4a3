"""When a delivery is attempted again, and when it is given up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runstream_registry.webhooks.delivery import Answer

RETRIED_STATUSES: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that pass by themselves; others below 500 are about the request, which stays as it is."""

FACTOR: Final = 4.0
JITTER: Final = 0.2
"""Share by which a wait may be longer or shorter, so that what failed together does not come back together."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often and how long.

    Args:
        max_attempts: in one round.
        first_delay_seconds: wait after the first failure; each further one is FACTOR times as long.
        max_delay_seconds: longest wait, also of one that a receiver asks for.
    """

    max_attempts: int
    first_delay_seconds: float
    max_delay_seconds: float

    def delay_seconds(self, answer: Answer, attempt: int) -> float | None:
        """The wait until the next attempt after a failed one; None when there is to be none.

        Args:
            attempt: number of the failed attempt in its round, from 1.
        """
        if attempt >= self.max_attempts or not _passes_by_itself(answer):
            return None
        # The exponent is bounded so that it stays a float; the wait is, by then, at its longest.
        backoff = min(self.first_delay_seconds * FACTOR ** min(attempt - 1, 50), self.max_delay_seconds)
        wait = backoff * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter
        asked = min(answer.retry_after_seconds or 0.0, self.max_delay_seconds)
        return max(wait, asked)


def _passes_by_itself(answer: Answer) -> bool:
    if answer.status == 0:
        return not answer.refused
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in RETRIED_STATUSES

"""Waiting between attempts: exponential with full jitter, never shorter than the server asked for.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
"""

from __future__ import annotations

import random

FIRST_SECONDS = 0.2
MAX_SECONDS = 10.0


class Backoff:
    """Delays of one series of failures.

    Args:
        first_seconds: upper end of the first delay.
        max_seconds: upper end of every later delay.
    """

    def __init__(self, first_seconds: float = FIRST_SECONDS, max_seconds: float = MAX_SECONDS) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self.failures = 0

    def next_seconds(self, at_least_seconds: float | None = None) -> float:
        """The delay after one more failure.

        Args:
            at_least_seconds: what the server asked for (RetryInfo); the jitter comes on top of it.
        """
        ceiling = min(self._max_seconds, self._first_seconds * 2 ** min(self.failures, 30))
        self.failures += 1
        return (at_least_seconds or 0.0) + random.uniform(0, ceiling)  # noqa: S311 - spreads clients, no secret

    def reset(self) -> None:
        """Forget the failures after a success."""
        self.failures = 0

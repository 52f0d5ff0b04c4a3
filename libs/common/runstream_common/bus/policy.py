"""When a subscription tries again, gives one message up, and stops altogether."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

WINDOW_MESSAGES = 100_000
"""The ratio looks back about this far, so that an old good stretch cannot hide a bad deployment."""

DEAD_LETTER_RETENTION_HOURS = 24 * 90
"""Long enough that a bad message can be looked at after a holiday; bounded, so that the queue is too."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before the next attempt: doubling, jittered, bounded, without a last attempt."""

    first_delay_seconds: float = 0.1
    max_delay_seconds: float = 15.0

    def delay_seconds(self, attempt: int) -> float:
        """The wait after attempt number ``attempt`` (1, 2, …); jitter keeps replicas from coming in step."""
        ceiling = min(self.max_delay_seconds, self.first_delay_seconds * 2 ** min(attempt - 1, 30))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """When a message is given up, and when a subscription is.

    Args:
        attempts: how often one message that raises an unexpected error is tried.
        max_ratio: the largest share of messages that may be parked before the subscription stops.
        min_messages: how many messages are seen before the ratio counts.
    """

    attempts: int = 3
    max_ratio: float = 0.5
    min_messages: int = 1000


class DeadLetterRatioExceededError(Exception):
    """So many messages are bad that the fault is likelier ours than theirs; the subscription stops."""


@dataclass(slots=True)
class RatioLimit:
    """Keeps count of good and bad messages, and refuses to park a whole topic."""

    policy: DeadLetterPolicy
    _seen: float = field(default=0.0, init=False)
    _rejected: float = field(default=0.0, init=False)

    def check(self, rejected: int) -> None:
        """Raise DeadLetterRatioExceededError if parking ``rejected`` more messages would exceed the ratio.

        Messages still being handled do not count as good, so a batch of bad ones is noticed half way.
        """
        seen, bad = self._seen + rejected, self._rejected + rejected
        if rejected and seen >= self.policy.min_messages and bad > self.policy.max_ratio * seen:
            raise DeadLetterRatioExceededError(
                f"{bad:.0f} of the last {seen:.0f} messages were rejected, "
                f"more than the allowed share of {self.policy.max_ratio:g}"
            )

    def record(self, handled: int, rejected: int) -> None:
        """Count a finished batch."""
        self._seen += handled + rejected
        self._rejected += rejected
        if self._seen > WINDOW_MESSAGES:
            self._seen /= 2
            self._rejected /= 2

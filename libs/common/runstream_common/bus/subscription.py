"""What a subscription is, and what it says about itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from runstream_common.bus import metrics
from runstream_common.bus.policy import DeadLetterPolicy, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runstream_common.bus.messages import Handler, Message

State = Literal["starting", "running", "retrying", "stopped"]


@dataclass(frozen=True, slots=True)
class AppliedUpTo:
    """How far a partition has been handled: everything below ``next_offset``, the newest from ``time_ms``."""

    next_offset: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription of this process, as health and status calls report it.

    ``last_progress_ms`` is when a batch was last handled or the queue last found empty.
    """

    topic: str
    group: str
    state: State
    reason: str
    lag_messages: Mapping[int, int]
    applied: Mapping[int, AppliedUpTo]
    oldest_unhandled_ms: int | None
    last_progress_ms: int


@dataclass(eq=False)
class Subscription:
    """A handler for one topic under one group name, and its state.

    Args:
        max_messages: largest batch, messages.
        max_bytes: largest batch, bytes of values; one message alone may exceed it.
        max_wait_ms: longest wait for a first message before the queue is asked again.
        on_partitions: told the partitions this process has whenever they change.
    """

    topic: str
    group: str
    handler: Handler
    max_messages: int = 500
    max_bytes: int = 16 * 1024 * 1024
    max_wait_ms: int = 200
    dead_letter: DeadLetterPolicy = field(default_factory=DeadLetterPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_partitions: Callable[[frozenset[int]], None] | None = None
    state: State = field(default="starting", init=False)
    reason: str = field(default="", init=False)
    lag: dict[int, int] = field(default_factory=dict, init=False)
    oldest_ms: dict[int, int] = field(default_factory=dict, init=False)
    applied: dict[int, AppliedUpTo] = field(default_factory=dict, init=False)
    last_progress_ms: int = field(default=0, init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def name(self) -> str:
        """Topic and group, for logs."""
        return f"{self.topic}.{self.group}"

    @property
    def dead_letter_topic(self) -> str:
        """Where this group's bad messages go."""
        return dead_letter_topic(self.topic, self.group)

    def set_state(self, state: State, reason: str = "") -> None:
        """Note a change of state for status, metrics and health."""
        self.state, self.reason = state, reason
        metrics.RUNNING.labels(self.topic, self.group).set(0 if state == "stopped" else 1)

    def progressed(self) -> None:
        """Note that the subscription is alive and getting on."""
        self.last_progress_ms = time.time_ns() // 1_000_000
        if self.state != "stopped":
            self.set_state("running")

    def note_lag(self, partition: int, messages: int, oldest_ms: int | None) -> None:
        """Note how far behind a partition is.

        Args:
            oldest_ms: wall-clock time of the oldest message not yet handled, None when there is none.
        """
        self.lag[partition] = messages
        age_seconds = 0.0
        if oldest_ms is None:
            self.oldest_ms.pop(partition, None)
        else:
            self.oldest_ms[partition] = oldest_ms
            age_seconds = max(0.0, time.time() - oldest_ms / 1000)
        labels = (self.topic, self.group, str(partition))
        metrics.LAG_MESSAGES.labels(*labels).set(messages)
        metrics.OLDEST_SECONDS.labels(*labels).set(age_seconds)

    def note_applied(self, messages: Sequence[Message]) -> None:
        """Note a handled batch, given in the order of its offsets."""
        for message in messages:
            before = self.applied.get(message.partition)
            if before is None or message.offset >= before.next_offset:
                self.applied[message.partition] = AppliedUpTo(message.offset + 1, message.timestamp_ms)

    def forget_partition(self, partition: int) -> None:
        """Stop reporting a partition that another process has now; its lag is theirs to tell."""
        self.oldest_ms.pop(partition, None)
        self.applied.pop(partition, None)
        if self.lag.pop(partition, None) is not None:
            labels = (self.topic, self.group, str(partition))
            metrics.LAG_MESSAGES.remove(*labels)
            metrics.OLDEST_SECONDS.remove(*labels)

    def status(self) -> SubscriptionStatus:
        """A snapshot."""
        return SubscriptionStatus(
            topic=self.topic,
            group=self.group,
            state=self.state,
            reason=self.reason,
            lag_messages=dict(self.lag),
            applied=dict(self.applied),
            oldest_unhandled_ms=min(self.oldest_ms.values(), default=None),
            last_progress_ms=self.last_progress_ms,
        )


def dead_letter_topic(topic: str, group: str) -> str:
    """Where the messages that ``group`` cannot apply are parked."""
    return f"{topic}.{group}.dead-letter"

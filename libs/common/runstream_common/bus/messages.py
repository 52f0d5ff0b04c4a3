"""What travels on the bus, and the names of the headers that the bus itself reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

EVENT_ID = "event-id"
EVENT_TYPE = "event-type"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
TARGET_GROUP = "target-group"
"""A replayed message is for this group alone; every other group skips it."""

DEAD_LETTER_PREFIX = "dead-letter-"
"""Headers that parking adds to the original ones; a replay takes them off again."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message is in its topic.

    Offsets of one partition grow in the order in which messages became visible to one reader. A transport
    without partitions uses partition 0.
    """

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far a topic goes, and what of it a group has not handled, at some moment after it was asked.

    Args:
        ends: of each partition that may hold messages, a position with every message that was acknowledged before.
        oldest: of each partition where something waits, a position before which nothing does; None when only the group's
            own records tell (Kafka).
    """

    ends: tuple[Position, ...]
    oldest: tuple[Position, ...] | None

    def handled(self, positions: Sequence[Position]) -> bool:
        """Whether nothing at or before the positions waits.

        Raises:
            ValueError: the transport does not know.
        """
        if self.oldest is None:
            raise ValueError("this transport does not know what waits")
        waiting = {(item.topic, item.partition): item.offset for item in self.oldest}
        return all(waiting.get((p.topic, p.partition), p.offset + 1) > p.offset for p in positions)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a handler receives it; the value is as it was published."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]
    partition: int
    offset: int
    timestamp_ms: int

    @property
    def position(self) -> Position:
        """Where the message is."""
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to the bus."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """What the message costs in memory, roughly; used for the bound on bytes in flight."""
        return len(self.value) + len(self.key) + 256


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that a handler will never be able to apply.

    Args:
        message: one of the batch.
        reason: UPPER_SNAKE, stable; dashboards and replays key on it.
        detail: what to fix, for a person.
        attempts: how often it was tried.
    """

    message: Message
    reason: str
    detail: str = ""
    attempts: int = 1


Handler: TypeAlias = Callable[[Sequence[Message]], Awaitable[Sequence[Rejected]]]
"""Applies a batch in its own transaction and returns the messages that can never be applied.

Delivery is at least once, so applying a message again must change nothing.
"""

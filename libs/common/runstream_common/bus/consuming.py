"""Consuming one event after the other under a durable group, for those who are no service of ours.

A subscription takes batches and is part of a service; this is for a deployment system that runs one command an event. The
event in hand is settled before the next one is given, and is given again, also to another member of the group, until
it is.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from runstream_common.bus import metrics
from runstream_common.bus.messages import TARGET_GROUP, Rejected
from runstream_common.bus.topics import TOPICS
from runstream_common.errors import FailedPrecondition, InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_common.bus.messages import Message

log = structlog.get_logger(__name__)

MAX_CONSUMERS = 100
"""Streams that one process serves at a time; each has its own membership, on Kafka with its own connections."""

MAX_GROUP_CHARS = 100
TAIL_PREFIX = "tail-"
DEAD_LETTER_SUFFIX = ".dead-letter"
SERVICE_GROUPS: Final = frozenset({"artifact", "ingest", "metadata", "registry"})
"""A service's group has the service's name, also where the service is not there yet."""

_GROUP = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_GROUP_CHARS}}}", re.ASCII)


class EventSource(Protocol):
    """What a transport does for one member of a group."""

    @property
    def created(self) -> bool:
        """Whether the group is new."""
        ...

    async def take(self) -> Message:
        """Wait for the next message. Raises Unavailable; NotFound when the group was deleted."""
        ...

    async def commit(self) -> bool:
        """Note that the message taken last is done with; False when it was given to another member meanwhile."""
        ...

    async def park(self, rejected: Rejected, first_seen_ms: int) -> bool:
        """Put the message taken last into the group's dead letters, then commit it; the answer is as of ``commit``."""
        ...


class EventConsumer:
    """One member of a group, for one task at a time.

    Args:
        source: where the messages come from.
        group: name without the deployment's prefix.
    """

    def __init__(self, source: EventSource, group: str) -> None:
        self._source = source
        self._group = group
        self._hand: Message | None = None
        self._since_ms = 0

    @property
    def created(self) -> bool:
        """Whether the group is new."""
        return self._source.created

    async def next(self) -> Message:
        """Wait for the next event.

        Raises:
            FailedPrecondition: the one before is not settled.
            NotFound: the group was deleted.
            Unavailable: the bus is away.
        """
        if self._hand is not None:
            raise FailedPrecondition("settle the event in hand first", reason="EVENT_NOT_SETTLED")
        message = await self._source.take()
        while message.headers.get(TARGET_GROUP, self._group) != self._group:
            # A letter that another group replays: not for us, and done with.
            await self._source.commit()
            message = await self._source.take()
        self._hand, self._since_ms = message, time.time_ns() // 1_000_000
        return message

    async def acknowledge(self) -> bool:
        """Commit the event in hand, which was handled.

        Returns:
            False when another member has it meanwhile, who handles it again.

        Raises:
            FailedPrecondition: no event is in hand.
            Unavailable: the bus is away; the event will come again.
        """
        message = self._settled()
        return self._counted(message, await self._source.commit())

    async def reject(self, reason: str, detail: str = "", attempts: int = 1) -> bool:
        """Put the event in hand into the group's dead letters, and commit it; as ``acknowledge`` otherwise.

        Args:
            reason: UPPER_SNAKE, stable.
            detail: what to fix, for a person.
            attempts: how often it was tried.
        """
        message = self._settled()
        rejected = Rejected(message, reason, detail, attempts)
        ours = await self._source.park(rejected, self._since_ms)
        if ours:
            metrics.DEAD_LETTERED.labels(message.topic, self._group, "REJECTED").inc()
        return self._counted(message, ours)

    def _settled(self) -> Message:
        message, self._hand = self._hand, None
        if message is None:
            raise FailedPrecondition("there is no event in hand", reason="NO_EVENT_TO_SETTLE")
        return message

    def _counted(self, message: Message, ours: bool) -> bool:
        if ours:
            metrics.CONSUMED.labels(message.topic, self._group).inc()
            metrics.CONSUMED_BYTES.labels(message.topic, self._group).inc(len(message.value))
        else:
            log.warning(
                "event_settled_too_late",
                topic=message.topic,
                group=self._group,
                partition=message.partition,
                offset=message.offset,
            )
        return ours


def check_group(group: str, own: Iterable[str] = ()) -> None:
    """Refuse a name that is none, and the platform's own groups.

    Args:
        own: groups of this process's subscriptions.

    Raises:
        InvalidArgument: it is not a name.
        PermissionDenied: a service of the platform reads under it; a second reader would take events away from it.
    """
    if _GROUP.fullmatch(group) is None or group.endswith(DEAD_LETTER_SUFFIX):
        raise InvalidArgument.of(
            "group",
            f"takes 1 to {MAX_GROUP_CHARS} letters, digits, '_', '-' and '.', and does not end in {DEAD_LETTER_SUFFIX!r}",
        )
    reserved = SERVICE_GROUPS.union(own, *(topic.groups for topic in TOPICS))
    if group in reserved or group.startswith(TAIL_PREFIX):
        raise reserved_group(group)


def reserved_group(group: str) -> PermissionDenied:
    """The refusal of a group that is the platform's own."""
    return PermissionDenied(
        f"the group {group!r} is the platform's own; take another name", reason="GROUP_RESERVED"
    )

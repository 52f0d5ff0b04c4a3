"""The bus that services use: publish, subscribe, tail, dead letters. Which transport carries it is a setting."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from opentelemetry import propagate
from runstream_contract.ids import new_batch_id

from runstream_common.bus.consuming import MAX_CONSUMERS, EventConsumer, check_group
from runstream_common.bus.messages import EVENT_ID, TRACEPARENT, Outgoing
from runstream_common.bus.policy import DeadLetterPolicy
from runstream_common.bus.subscription import Subscription
from runstream_common.bus.topics import TOPICS, Topic, find_topic
from runstream_common.errors import FailedPrecondition, ResourceExhausted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from runstream_common.bus.dead_letter_headers import DeadLetter
    from runstream_common.bus.messages import Backlog, Handler, Message, Position
    from runstream_common.bus.subscription import SubscriptionStatus
    from runstream_common.bus.transport import Transport
    from runstream_common.settings import BusSettings

log = structlog.get_logger(__name__)


class Bus:
    """Messages between services, at least once, in the order of each key while nobody retries.

    Args:
        transport: Kafka or PostgreSQL.
        settings: bounds for publishing and parking.
        topics: the topics to create at start.
    """

    name = "bus"

    def __init__(self, transport: Transport, settings: BusSettings, topics: Sequence[Topic] = TOPICS) -> None:
        self._transport = transport
        self._settings = settings
        self._topics = {topic.name: topic for topic in topics}
        self._subscriptions: list[Subscription] = []
        self._started = False
        self._consumers = 0

    @property
    def topology(self) -> str:
        """``kafka`` or ``embedded``."""
        return self._transport.topology

    async def start(self) -> None:
        """Connect, create what is missing, and start the subscriptions.

        Raises:
            Unavailable: the bus does not answer.
        """
        await self._transport.start(list(self._topics.values()), self._subscriptions)
        self._started = True

    async def stop_subscriptions(self) -> None:
        """Let the batches in hand finish and take no more; publishing goes on. The first half of ``stop``."""
        await self._transport.stop_subscriptions()

    async def stop(self) -> None:
        """Stop the subscriptions, make durable what was published, and disconnect."""
        await self._transport.stop_subscriptions()
        await self._transport.stop()
        self._started = False

    async def ping(self) -> None:
        """Ask the bus for an answer, and the subscriptions whether they run; for readiness.

        Raises:
            Unavailable: the bus does not answer.
            FailedPrecondition: a subscription stopped.
        """
        await self._transport.ping()
        for subscription in self._subscriptions:
            if subscription.state == "stopped":
                raise FailedPrecondition(
                    f"{subscription.name} stopped: {subscription.reason}", reason="SUBSCRIPTION_STOPPED"
                )

    async def ensure_topics(self) -> None:
        """Create the topics that do not exist."""
        await self._transport.ensure_topics(list(self._topics.values()))

    async def publish(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> Position:
        """Publish one message; when this returns, it survives any crash.

        Args:
            key: messages of one key keep their order.
            headers: ``event-id`` and ``traceparent`` are added when missing.

        Returns:
            Where the message is.

        Raises:
            ResourceExhausted: too many bytes are in flight; says when to come back.
            Unavailable: the bus is away or too slow. The message may still arrive.
            InvalidArgument: it is larger than the bus takes.
        """
        return await self.send(topic, key, value, headers)

    def send(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[Position]:
        """Start a publish without waiting, so that a stream can have many on their way.

        Messages of one key that are on their way together may be stored in another order.

        Raises:
            ResourceExhausted: at once. What else ``publish`` raises, the future raises.
        """
        return self._transport.send(Outgoing(topic, key, value, _with_ids(headers)))

    def subscribe(
        self,
        topic: str,
        group: str,
        handler: Handler,
        *,
        max_messages: int = 500,
        max_bytes: int = 16 * 1024 * 1024,
        max_wait_ms: int = 200,
        dead_letter: DeadLetterPolicy | None = None,
        on_partitions: Callable[[frozenset[int]], None] | None = None,
    ) -> Subscription:
        """Handle a topic's messages in batches, under a durable group name. Call before ``start``.

        Args:
            group: each group gets every message once; the processes of one group share them.
            max_messages: largest batch, messages.
            max_bytes: largest batch, bytes; one message alone may exceed it.
            max_wait_ms: longest time between two looks at a quiet queue.
            dead_letter: when to give up; the settings' policy if not given.
            on_partitions: called with the partitions that this process has, whenever they change.

        Raises:
            FailedPrecondition: the bus runs already.
        """
        if self._started:
            raise FailedPrecondition("subscribe before the bus starts", reason="BUS_STARTED")
        subscription = Subscription(
            topic,
            group,
            handler,
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_wait_ms=max_wait_ms,
            dead_letter=dead_letter or self._default_policy(),
            on_partitions=on_partitions,
        )
        self._topics.setdefault(topic, find_topic(topic))
        self._subscriptions.append(subscription)
        return subscription

    def subscriptions(self) -> list[SubscriptionStatus]:
        """The state of every subscription of this process."""
        return [subscription.status() for subscription in self._subscriptions]

    def tail(self, topic: str, *, from_beginning: bool = False) -> AsyncIterator[Message]:
        """Follow a topic as a spectator, without a group that outlives the caller.

        Args:
            from_beginning: start with what the bus still holds. Kafka holds what retention allows,
                PostgreSQL nothing that every group has handled.
        """
        return self._transport.tail(topic, from_beginning=from_beginning)

    @asynccontextmanager
    async def consume(
        self, topic: str, group: str, *, from_beginning: bool = False
    ) -> AsyncIterator[EventConsumer]:
        """Join a durable group of consumers that are no service of ours, one event at a time; any number may join.

        Once entered, nothing that is published escapes the group, also while it has no member. What is not settled when
        the block ends is given again.

        Args:
            from_beginning: where a new group starts: with what the bus still holds instead of with what comes next.
                Kafka holds what retention allows, PostgreSQL what no group has taken.

        Raises:
            InvalidArgument: the group's name is none.
            NotFound: there is no such topic.
            PermissionDenied: the group is the platform's own.
            ResourceExhausted: this process serves as many consumers as it can.
            Unavailable: the bus is away.
        """
        check_group(group, self._own_groups())
        if self._consumers >= MAX_CONSUMERS:
            raise ResourceExhausted(
                f"this process serves {MAX_CONSUMERS} consumers already; ask another replica",
                reason="TOO_MANY_CONSUMERS",
                retry_after_seconds=1.0,
            )
        self._consumers += 1
        try:
            async with self._transport.consume(topic, group, from_beginning=from_beginning) as source:
                yield EventConsumer(source, group)
        finally:
            self._consumers -= 1

    async def delete_group(self, topic: str, group: str) -> None:
        """Forget a group of ``consume`` on a topic, with what waits for it.

        PostgreSQL also drops its dead letters and ends its members with NotFound.

        Raises:
            FailedPrecondition: Kafka: it has members.
            NotFound: there is no such group.
            PermissionDenied: the group is the platform's own.
            Unavailable: the bus is away.
        """
        check_group(group, self._own_groups())
        await self._transport.delete_group(topic, group)

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        """Whether the group has handled everything up to the positions, for reading one's own writes."""
        return await self._transport.applied(group, positions)

    async def backlog(self, topic: str, group: str) -> Backlog:
        """How far a topic goes now, and what of it a group has not handled: for reading what others have written.

        Everything that was acknowledged before the call is at or before the ends.

        Raises:
            Unavailable: the bus is away.
        """
        return await self._transport.backlog(topic, group)

    async def dead_letter_groups(self, topic: str) -> list[str]:
        """The groups that may have dead letters of a topic, by name."""
        mine = {item.group for item in self._subscriptions if item.topic == topic}
        external = await self._transport.external_groups(topic)
        return sorted(mine.union(find_topic(topic).groups, external))

    async def list_dead_letters(
        self, topic: str, group: str, *, limit: int = 100, after: str | None = None
    ) -> Sequence[DeadLetter]:
        """Parked messages, oldest first.

        Args:
            limit: most letters returned.
            after: the id that the page before ended with.
        """
        return await self._transport.list_dead_letters(topic, group, limit=limit, after=after)

    async def count_dead_letters(self, topic: str, group: str) -> int:
        """How many messages of a group are parked."""
        return await self._transport.count_dead_letters(topic, group)

    async def get_dead_letter(self, topic: str, group: str, letter_id: str) -> DeadLetter:
        """One parked message. Raises NotFound."""
        return await self._transport.get_dead_letter(topic, group, letter_id)

    async def replay_dead_letters(
        self, topic: str, group: str, *, ids: Sequence[str] = (), limit: int = 1000
    ) -> int:
        """Send parked messages to their group once more; each leaves the list when it was sent.

        Args:
            ids: which ones; all, oldest first, if none is given.
            limit: most letters sent.

        Returns:
            How many were sent.

        Raises:
            NotFound: an id is not on the list; none was sent.
        """
        letters = await self._letters(topic, group, ids, limit)
        for letter in letters:
            await self._transport.replay_dead_letter(topic, group, letter)
        return len(letters)

    async def discard_dead_letters(
        self, topic: str, group: str, *, ids: Sequence[str] = (), limit: int = 1000
    ) -> int:
        """Forget parked messages for good.

        Args:
            ids: which ones; all, oldest first, if none is given.
            limit: most letters forgotten.

        Returns:
            How many were forgotten.

        Raises:
            NotFound: an id is not on the list; none was forgotten.
        """
        letters = await self._letters(topic, group, ids, limit)
        for letter in letters:
            await self._transport.discard_dead_letter(topic, group, letter)
        return len(letters)

    async def size_bytes(self) -> int | None:
        """Bytes that the messages take where they are kept; None on Kafka.

        Raises:
            Unavailable: the bus is away.
        """
        return await self._transport.size_bytes()

    async def _letters(self, topic: str, group: str, ids: Sequence[str], limit: int) -> Sequence[DeadLetter]:
        if ids:
            return [await self.get_dead_letter(topic, group, name) for name in ids[:limit]]
        return await self.list_dead_letters(topic, group, limit=limit)

    def _own_groups(self) -> list[str]:
        return [subscription.group for subscription in self._subscriptions]

    def _default_policy(self) -> DeadLetterPolicy:
        return DeadLetterPolicy(
            attempts=self._settings.poison_attempts,
            max_ratio=self._settings.dead_letter_max_ratio,
            min_messages=self._settings.dead_letter_min_messages,
        )


def _with_ids(headers: Mapping[str, str] | None) -> dict[str, str]:
    complete = dict(headers or {})
    if EVENT_ID not in complete:
        complete[EVENT_ID] = new_batch_id()
    if TRACEPARENT not in complete:
        propagate.inject(complete)
    return complete

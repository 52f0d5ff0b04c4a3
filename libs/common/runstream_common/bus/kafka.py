"""The bus on Kafka, over FastStream's KafkaBroker."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from runstream_common.bus.in_flight import InFlightBytes
from runstream_common.bus.kafka_admin import MAX_RECORD_BYTES, KafkaAdmin
from runstream_common.bus.kafka_consumer import KafkaSubscription
from runstream_common.bus.kafka_dead_letters import KafkaDeadLetters
from runstream_common.bus.kafka_ends import KafkaEnds
from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.bus.kafka_events import (
    NEVER_IDLE_MS,
    REBALANCE_TIMEOUT_MS,
    SESSION_TIMEOUT_MS,
    KafkaEventSource,
)
from runstream_common.bus.kafka_groups import KafkaGroups, Start
from runstream_common.bus.kafka_publisher import KafkaPublisher
from runstream_common.bus.kafka_reader import KafkaReader
from runstream_common.bus.kafka_records import pass_through_decoder, pass_through_parser
from runstream_common.bus.messages import Backlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from runstream_common.bus.dead_letter_headers import DeadLetter
    from runstream_common.bus.messages import Message, Outgoing, Position
    from runstream_common.bus.subscription import Subscription
    from runstream_common.bus.topics import Topic
    from runstream_common.settings import BusSettings

log = structlog.get_logger(__name__)

LINGER_MS = 5
BATCH_BYTES = 1024 * 1024
"""A produce request carries up to this much a partition; aiokafka's 16 KiB would send 24 KB messages one by one."""

REQUEST_TIMEOUT_MS = 30_000
"""Above every join of a group; publishes have their own, shorter limit."""

FETCH_PARTITION_BYTES = 4 * 1024 * 1024
FETCH_BYTES = 32 * 1024 * 1024
POLL_MS = 20
"""FastStream sleeps this long after an empty poll, so it bounds the delay of a message on a quiet topic."""

MAX_POLL_INTERVAL_MS = 300_000
"""A handler may run this long; a held batch refreshes the clock, so retries may go on for ever."""

CONNECT_RETRY_SECONDS = 1.0
STOP_SECONDS = 15.0
LEAVE_SECONDS = 8.0
"""How long the batch in hand may take to be committed and the group to be left. What is not committed then is delivered
again; what was published must still be flushed within the service's grace period."""


class KafkaTransport:
    """See Transport.

    Args:
        bootstrap: ``host:port`` of some brokers.
    """

    topology = "kafka"

    def __init__(self, bootstrap: Sequence[str], settings: BusSettings) -> None:
        self._settings = settings
        self._bootstrap = list(bootstrap)
        self._prefix = settings.topic_prefix
        options = _producer_options(settings)
        self._broker = KafkaBroker(
            list(bootstrap),
            **options,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=STOP_SECONDS,
            logger=logging.getLogger("runstream.bus.faststream"),
            log_level=logging.DEBUG,
        )
        self._admin = KafkaAdmin(bootstrap, settings)
        self._reader = KafkaReader(bootstrap, self._prefix, self._admin)
        self._ends = KafkaEnds(bootstrap, self._prefix, self._admin)
        self._groups = KafkaGroups(bootstrap, self._prefix, self._admin)
        self._publisher = KafkaPublisher(
            self._broker,
            {"bootstrap_servers": list(bootstrap), **options},
            prefix=self._prefix,
            in_flight=InFlightBytes(settings.publish_max_in_flight_bytes),
            timeout_seconds=settings.publish_timeout_seconds,
            end_offset=self._reader.end_offset,
        )
        self._dead_letters = KafkaDeadLetters(self._reader, self._publisher.send)
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, topics: Sequence[Topic], subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = list(subscriptions)
        await self._admin.start()
        await self.ensure_topics(topics)
        await self._admin.ensure_dead_letters([item.dead_letter_topic for item in subscriptions])
        for subscription in subscriptions:
            self._subscribe(subscription)
        with mapped_kafka_errors():
            await self._broker.start()

    async def stop_subscriptions(self) -> None:
        for subscription in self._subscriptions:
            subscription.stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Concurrently: one after the other could take the graceful timeout each.
        await asyncio.gather(
            *(_within_leave_time(subscriber.stop()) for subscriber in self._broker.subscribers)
        )

    async def stop(self) -> None:
        await self._publisher.flush()
        await self._broker.stop()
        await self._ends.stop()
        await self._admin.stop()

    async def ping(self) -> None:
        await self._admin.ping()

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        await self._admin.ensure_topics(topics)

    def send(self, outgoing: Outgoing) -> asyncio.Future[Position]:
        return self._publisher.send(outgoing)

    def tail(self, topic: str, *, from_beginning: bool) -> AsyncIterator[Message]:
        return self._reader.tail(topic, from_beginning=from_beginning)

    @asynccontextmanager
    async def consume(
        self, topic: str, group: str, *, from_beginning: bool
    ) -> AsyncIterator[KafkaEventSource]:
        start = await self._groups.start_of(topic, group, from_beginning=from_beginning)
        # Where positions are committed, a partition without one was added later: all of it is new to the group.
        earliest = from_beginning or start is not Start.OPEN
        source = KafkaEventSource(
            topic,
            group,
            physical_topic=self._prefix + topic,
            consumer=self._member(group, "earliest" if earliest else "latest"),
            send=self._publisher.send,
            ensure_dead_letters=self._admin.ensure_dead_letters,
        )
        source.created = start is not Start.KNOWN
        try:
            await source.start(commit_positions=start is Start.OPEN)
            yield source
        finally:
            await _within_leave_time(source.stop())

    async def delete_group(self, topic: str, group: str) -> None:
        await self._groups.delete(topic, group)

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        wanted = {
            TopicPartition(self._prefix + item.topic, item.partition): item.offset + 1 for item in positions
        }
        committed = await self._admin.committed(group, list(wanted))
        return all(committed.get(item, 0) >= offset for item, offset in wanted.items())

    async def backlog(self, topic: str, group: str) -> Backlog:
        """See Transport. What waits, the group's store tells sooner than the offsets it commits."""
        del group
        return Backlog(await self._ends.last_positions(topic), None)

    async def external_groups(self, topic: str) -> list[str]:
        return await self._groups.with_dead_letters(topic)

    async def list_dead_letters(
        self, topic: str, group: str, *, limit: int, after: str | None
    ) -> Sequence[DeadLetter]:
        return await self._dead_letters.list(topic, group, limit=limit, after=after)

    async def count_dead_letters(self, topic: str, group: str) -> int:
        return await self._dead_letters.count(topic, group)

    async def get_dead_letter(self, topic: str, group: str, letter_id: str) -> DeadLetter:
        return await self._dead_letters.get(topic, group, letter_id)

    async def replay_dead_letter(self, topic: str, group: str, letter: DeadLetter) -> None:
        await self._dead_letters.replay(topic, group, letter)

    async def discard_dead_letter(self, topic: str, group: str, letter: DeadLetter) -> None:
        """See Transport."""
        await self._dead_letters.discard(topic, group, letter)

    async def size_bytes(self) -> int | None:
        """See Transport: the brokers know, and they have metrics of their own."""
        return None

    def _subscribe(self, subscription: Subscription) -> None:
        runner = KafkaSubscription(
            subscription,
            physical_topic=self._prefix + subscription.topic,
            send=self._publisher.send,
            consumer=lambda: subscriber.consumer,
        )
        # MANUAL: FastStream's default commits before the handler has run.
        subscriber: Any = self._broker.subscriber(
            self._prefix + subscription.topic,
            group_id=self._prefix + subscription.group,
            batch=True,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            max_records=subscription.max_messages,
            batch_timeout_ms=POLL_MS,
            listener=runner,
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=SESSION_TIMEOUT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            max_partition_fetch_bytes=FETCH_PARTITION_BYTES,
            fetch_max_bytes=FETCH_BYTES,
            parser=pass_through_parser,
            decoder=pass_through_decoder,
        )
        subscriber(runner.on_batch)
        self._tasks.append(asyncio.create_task(runner.watch_lag()))

    def _member(self, group: str, reset: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="runstream-events",
            group_id=self._prefix + group,
            enable_auto_commit=False,
            auto_offset_reset=reset,
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=SESSION_TIMEOUT_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=NEVER_IDLE_MS,
        )


async def _within_leave_time(leaving: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await leaving
    except TimeoutError:
        # aiokafka waits without a limit for tasks of its own to end.
        log.warning("subscription_stop_timed_out", seconds=LEAVE_SECONDS)


def _producer_options(settings: BusSettings) -> dict[str, Any]:
    compression = settings.kafka_compression
    return {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if compression == "none" else compression,
        "linger_ms": LINGER_MS,
        "max_batch_size": BATCH_BYTES,
        "max_request_size": MAX_RECORD_BYTES,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }

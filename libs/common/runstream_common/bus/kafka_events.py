"""One member of a group from outside on Kafka: a consumer of its own, which commits exactly what was settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from runstream_contract.limits import MAX_MESSAGE_BYTES

from runstream_common.bus.dead_letter_headers import parking_headers
from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.bus.kafka_records import to_message
from runstream_common.bus.messages import Outgoing
from runstream_common.bus.subscription import dead_letter_topic
from runstream_common.errors import Internal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from runstream_common.bus.messages import Message, Rejected

log = structlog.get_logger(__name__)

SESSION_TIMEOUT_MS = 10_000
REBALANCE_TIMEOUT_MS = 30_000
"""How long the others of the group wait when members come and go, below the client's own limit of a request (40 s)."""

REVOKE_WAIT_SECONDS = 25.0
"""How long the event in hand may take to be settled before its partition may move. Then another member gets it too."""

NEVER_IDLE_MS = 7 * 24 * 3_600_000
"""aiokafka leaves a group that is not polled for a while, but a command may run for hours. That the member lives is told
by its heartbeats, and that its client lives by the stream that it holds open."""

COMMIT_SECONDS = 30.0
COMMIT_RETRY_SECONDS = 0.2


class KafkaEventSource(ConsumerRebalanceListener):  # type: ignore[misc]
    """See EventSource.

    Args:
        consumer: of the group, subscribed with this as its listener.
        send: publishes a dead letter; resolves when it is durable.
        ensure_dead_letters: creates a dead-letter topic.
    """

    def __init__(
        self,
        topic: str,
        group: str,
        *,
        physical_topic: str,
        consumer: AIOKafkaConsumer,
        send: Callable[[Outgoing], Awaitable[object]],
        ensure_dead_letters: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self.created = False
        self._topic = topic
        self._group = group
        self._physical_topic = physical_topic
        self._consumer = consumer
        self._send = send
        self._ensure_dead_letters = ensure_dead_letters
        self._hand: ConsumerRecord[Any, Any] | None = None
        self._lost = False
        self._free = asyncio.Event()
        self._free.set()

    async def start(self, *, commit_positions: bool) -> None:
        """Join the group.

        Args:
            commit_positions: note where this member's partitions begin, which nobody did before.
        """
        with mapped_kafka_errors():
            self._consumer.subscribe([self._physical_topic], listener=self)
            await self._consumer.start()
            if commit_positions:
                assigned = self._consumer.assignment()
                await self._consumer.commit({item: await self._consumer.position(item) for item in assigned})

    async def stop(self) -> None:
        """Leave the group; what is in hand goes to another member."""
        self._free.set()
        await self._consumer.stop()

    async def take(self) -> Message:
        with mapped_kafka_errors():
            record = await self._consumer.getone()
        self._hand, self._lost = record, False
        self._free.clear()
        return to_message(record, self._topic)

    async def commit(self) -> bool:
        record = self._hand
        if record is None:
            raise Internal("nothing was taken")
        try:
            return await self._commit(record)
        finally:
            self._hand = None
            self._free.set()

    async def park(self, rejected: Rejected, first_seen_ms: int) -> bool:
        await self._ensure_dead_letters([dead_letter_topic(self._topic, self._group)])
        value = rejected.message.value
        await self._send(
            Outgoing(
                topic=dead_letter_topic(self._topic, self._group),
                key=rejected.message.key,
                # Its producer's compression got a larger one past the broker's limit; it stays at its first place.
                value=value if len(value) <= MAX_MESSAGE_BYTES else b"",
                headers=parking_headers(rejected, self._group, first_seen_ms),
            )
        )
        return await self.commit()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the event in hand be settled before its partition may move."""
        del revoked  # always all of them
        try:
            async with asyncio.timeout(REVOKE_WAIT_SECONDS):
                await self._free.wait()
        except TimeoutError:
            log.warning("event_outlived_rebalance", topic=self._topic, group=self._group)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Keep the event in hand if its partition stayed, and do not read it again."""
        record = self._hand
        if record is None:
            return
        item = TopicPartition(record.topic, record.partition)
        if item in assigned:
            self._consumer.seek(item, record.offset + 1)
        else:
            self._lost = True

    async def _commit(self, record: ConsumerRecord[Any, Any]) -> bool:
        offsets = {TopicPartition(record.topic, record.partition): record.offset + 1}
        with mapped_kafka_errors():
            async with asyncio.timeout(COMMIT_SECONDS):
                while not self._lost:
                    try:
                        await self._consumer.commit(offsets)
                    except (CommitFailedError, IllegalStateError):
                        # A rebalance is under way: when it is over, the partition is still ours or it is not.
                        await asyncio.sleep(COMMIT_RETRY_SECONDS)
                    else:
                        return True
        return False

"""Reading a Kafka topic outside of any group: tails and dead-letter lists."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition

from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.bus.kafka_records import to_message
from runstream_common.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from runstream_common.bus.kafka_admin import KafkaAdmin
    from runstream_common.bus.messages import Message

POLL_MS = 200

StartAt: TypeAlias = Literal["earliest", "latest"]


class KafkaReader:
    """Reads whole topics with consumers that belong to no group, so nothing is left behind on the broker."""

    def __init__(self, bootstrap: Sequence[str], prefix: str, admin: KafkaAdmin) -> None:
        self._bootstrap = list(bootstrap)
        self._admin = admin
        self._prefix = prefix

    async def tail(self, topic: str, *, from_beginning: bool) -> AsyncIterator[Message]:
        """Every message of a topic as it arrives, for as long as the caller asks. Raises Unavailable."""
        start_at: StartAt = "earliest" if from_beginning else "latest"
        async with self._consumer(topic, start_at) as (consumer, partitions):
            for item in partitions:
                await consumer.position(item)  # settles where the tail begins
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                for records in batches.values():
                    for record in records:
                        yield to_message(record, topic)

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next message of a partition will get. Raises Unavailable."""
        item = TopicPartition(self._prefix + topic, partition)
        async with self._consumer(topic, "latest") as (consumer, _):
            return int((await consumer.end_offsets([item]))[item])

    async def read_to_end(self, topic: str) -> AsyncGenerator[Message, None]:
        """Every message that a topic holds now, partition by partition. Raises Unavailable."""
        async with self._consumer(topic, "earliest") as (consumer, partitions):
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.beginning_offsets(partitions)
            open_partitions = {item for item in partitions if starts[item] < ends[item]}
            while open_partitions:
                for item, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                    for record in records:
                        if record.offset < ends[item]:
                            yield to_message(record, topic)
                # The position also passes offsets that hold no record, such as transaction markers.
                open_partitions = {
                    item for item in open_partitions if await consumer.position(item) < ends[item]
                }

    @asynccontextmanager
    async def _consumer(
        self, topic: str, start_at: StartAt
    ) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        # Asked first, since a consumer waits half a minute for a topic that may yet be created.
        if not await self._admin.exists(topic):
            raise NotFound(f"there is no topic {topic}", reason="TOPIC_NOT_FOUND")
        # Without a group, aiokafka assigns every partition of the topic at start.
        consumer = AIOKafkaConsumer(
            self._prefix + topic,
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset=start_at,
        )
        try:
            with mapped_kafka_errors():
                await consumer.start()
                yield consumer, sorted(consumer.assignment())
        finally:
            await consumer.stop()

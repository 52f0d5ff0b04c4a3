"""Reading a Kafka topic outside of any group: tails and dead-letter lists."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from runstream_common.bus.kafka_errors import away, map_kafka_error
from runstream_common.bus.kafka_records import to_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.bus.messages import Message

POLL_MS = 200


class KafkaReader:
    """Reads whole topics with consumers that belong to no group, so nothing is left behind on the broker."""

    def __init__(self, bootstrap: Sequence[str], prefix: str) -> None:
        self._bootstrap = list(bootstrap)
        self._prefix = prefix

    async def tail(self, topic: str, *, from_beginning: bool) -> AsyncIterator[Message]:
        """Every message of a topic as it arrives, for as long as the caller asks. Raises Unavailable."""
        async with self._consumer(topic) as (consumer, partitions):
            if from_beginning:
                await consumer.seek_to_beginning(*partitions)
            else:
                await consumer.seek_to_end(*partitions)
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                for records in batches.values():
                    for record in records:
                        yield to_message(record, topic)

    async def read_to_end(self, topic: str) -> AsyncIterator[Message]:
        """Every message that a topic holds now, partition by partition. Raises Unavailable."""
        async with self._consumer(topic) as (consumer, partitions):
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.beginning_offsets(partitions)
            await consumer.seek_to_beginning(*partitions)
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
    async def _consumer(self, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            numbers = await self._partitions(consumer, self._prefix + topic)
            partitions = [TopicPartition(self._prefix + topic, number) for number in sorted(numbers)]
            consumer.assign(partitions)
            yield consumer, partitions
        except (KafkaError, OSError) as error:
            raise map_kafka_error(error) or error from error
        finally:
            await consumer.stop()

    @staticmethod
    async def _partitions(consumer: AIOKafkaConsumer, physical_topic: str) -> set[int]:
        # A consumer without a topic knows none; subscribing makes it ask the cluster.
        consumer.subscribe([physical_topic])
        await consumer.topics()
        numbers: set[int] | None = consumer.partitions_for_topic(physical_topic)
        consumer.unsubscribe()
        if not numbers:
            raise away()
        return numbers

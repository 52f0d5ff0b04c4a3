"""Where the topics of a Kafka cluster end, asked so often that a connection is kept for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.bus.messages import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.kafka_admin import KafkaAdmin

ANSWER_SECONDS = 5.0
"""Longest wait for the brokers; aiokafka itself would try for longer."""

PARTITIONS_KNOWN_SECONDS = 30.0
"""How long a list of partitions is used: partitions are only ever added, by hand."""


class KafkaEnds:
    """Asks for end offsets with one consumer that reads nothing and belongs to no group."""

    def __init__(self, bootstrap: Sequence[str], prefix: str, admin: KafkaAdmin) -> None:
        self._bootstrap = list(bootstrap)
        self._prefix = prefix
        self._admin = admin
        self._consumer: AIOKafkaConsumer | None = None
        self._connecting = asyncio.Lock()
        self._partitions: dict[str, tuple[float, list[int]]] = {}

    async def last_positions(self, topic: str) -> tuple[Position, ...]:
        """The last position of each partition that holds messages.

        A partition whose messages have all expired is left out: nobody will ever handle them.

        Raises:
            Unavailable: the brokers do not answer.
        """
        with mapped_kafka_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._ask(topic)
                except (KafkaError, OSError):
                    # What it knows of the cluster may be wrong; the next one asks anew.
                    await self.stop()
                    raise

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        self._partitions.clear()
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await consumer.stop()

    async def _ask(self, topic: str) -> tuple[Position, ...]:
        consumer = await self._connected()
        items = [TopicPartition(self._prefix + topic, number) for number in await self._partitions_of(topic)]
        # Acknowledged by all replicas means below the high watermark, which is what a broker tells here.
        ends = await consumer.end_offsets(items)
        filled = [item for item in items if ends[item] > 0]
        starts = await consumer.beginning_offsets(filled) if filled else {}
        return tuple(
            Position(topic, item.partition, ends[item] - 1) for item in filled if starts[item] < ends[item]
        )

    async def _partitions_of(self, topic: str) -> list[int]:
        now = asyncio.get_running_loop().time()
        asked_at, known = self._partitions.get(topic, (0.0, []))
        if not known or now - asked_at > PARTITIONS_KNOWN_SECONDS:
            known = await self._admin.partitions(topic)
            self._partitions[topic] = (now, known)
        return known

    async def _connected(self) -> AIOKafkaConsumer:
        async with self._connecting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap,
                    client_id="runstream-ends",
                    group_id=None,
                    enable_auto_commit=False,
                )
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer
            return self._consumer

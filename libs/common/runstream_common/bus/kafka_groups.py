"""Groups of consumers from outside on Kafka: where a new one starts, and how one is forgotten."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, GroupIdNotFound, NonEmptyGroup, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from runstream_common.bus.consuming import DEAD_LETTER_SUFFIX
from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.bus.kafka_admin import KafkaAdmin

OFFSET_DELETE = 47
"""Key of Kafka's OffsetDelete request (KIP-496), which aiokafka does not have."""

GROUP_SUBSCRIBED_TO_TOPIC = 86

START_SECONDS = 30.0


class Start(Enum):
    """What is known of where a group starts."""

    KNOWN = "known"
    """It has committed before."""
    MADE = "made"
    """It is new, and its first positions are committed now."""
    OPEN = "open"
    """It is new on this topic, but has members on others: only a member can commit."""


class KafkaGroups:
    """Durable groups that are not a service's.

    Args:
        prefix: the deployment's, before topics and groups.
    """

    def __init__(self, bootstrap: Sequence[str], prefix: str, admin: KafkaAdmin) -> None:
        self._bootstrap = list(bootstrap)
        self._prefix = prefix
        self._admin = admin

    async def start_of(self, topic: str, group: str, *, from_beginning: bool) -> Start:
        """Commit where a new group begins, before anyone joins it.

        So nothing escapes it from now on, also if its first member dies before its first commit, and also what comes to a
        partition that is added later.

        Raises:
            NotFound: there is no such topic.
            Unavailable: the bus is away.
        """
        partitions = await self._partitions(topic)
        with mapped_kafka_errors():
            async with asyncio.timeout(START_SECONDS), self._reader(group, partitions) as consumer:
                if await _has_committed(consumer, partitions):
                    return Start.KNOWN
                ask = consumer.beginning_offsets if from_beginning else consumer.end_offsets
                try:
                    # Accepted only while the group has no member, so it never sets a group back that has begun.
                    await consumer.commit(await ask(partitions))
                except CommitFailedError:
                    # It has members: another stream made it meanwhile, or it reads other topics too.
                    known = await self._admin.committed(group, partitions)
                    return Start.KNOWN if known else Start.OPEN
                return Start.MADE

    async def with_dead_letters(self, topic: str) -> list[str]:
        """The groups that have a dead-letter topic, which is made with the first letter."""
        before = f"{self._prefix}{topic}."
        return [
            name.removeprefix(before).removesuffix(DEAD_LETTER_SUFFIX)
            for name in await self._admin.topic_names()
            if name.startswith(before) and name.endswith(DEAD_LETTER_SUFFIX)
        ]

    async def delete(self, topic: str, group: str) -> None:
        """Forget how far a group is on a topic.

        Raises:
            FailedPrecondition: it has members.
            NotFound: there is no such group.
        """
        partitions = await self._partitions(topic)
        if not await self._admin.committed(group, partitions):
            raise NotFound(
                f"there is no consumer group {group} of {topic}", reason="CONSUMER_GROUP_NOT_FOUND"
            )
        request = _OffsetDelete(self._prefix + group, partitions)
        with mapped_kafka_errors():
            answer = await self._admin.ask_coordinator(self._prefix + group, request)
            codes = [answer.error_code, *(code for _, parts in answer.topics for _, code in parts)]
            for code in codes:
                if code in (GROUP_SUBSCRIBED_TO_TOPIC, NonEmptyGroup.errno):
                    raise FailedPrecondition(
                        f"the consumer group {group} of {topic} has members; stop them first",
                        reason="CONSUMER_GROUP_IN_USE",
                    )
                if code not in (0, GroupIdNotFound.errno):
                    raise for_code(code)(f"cannot delete the group {group}")

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        found = await self._admin.partitions(topic)
        if not found:
            raise NotFound(f"there is no topic {topic}", reason="TOPIC_NOT_FOUND")
        return [TopicPartition(self._prefix + topic, number) for number in found]

    @asynccontextmanager
    async def _reader(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer under the group's name that is no member of it."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=self._prefix + group, enable_auto_commit=False
        )
        consumer.assign(partitions)
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def _has_committed(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> bool:
    # Unlike the admin client, it waits while the cluster makes its first coordinator.
    found = await asyncio.gather(*(consumer.committed(item) for item in partitions))
    return any(offset is not None for offset in found)


class _OffsetDeleteAnswer(Response):  # type: ignore[misc]
    API_KEY = OFFSET_DELETE
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("name", String("utf-8")),
                ("partitions", Array(("partition_index", Int32), ("error_code", Int16))),
            ),
        ),
    )


class _OffsetDeleteV0(RequestStruct):  # type: ignore[misc]
    API_KEY = OFFSET_DELETE
    API_VERSION = 0
    RESPONSE_TYPE = _OffsetDeleteAnswer
    SCHEMA = Schema(
        ("group_id", String("utf-8")),
        (
            "topics",
            Array(("name", String("utf-8")), ("partitions", Array(Int32))),
        ),
    )


class _OffsetDelete(Request[_OffsetDeleteV0]):  # type: ignore[misc]
    API_KEY = OFFSET_DELETE

    def __init__(self, group_id: str, partitions: Sequence[TopicPartition]) -> None:
        self._group_id = group_id
        self._partitions = partitions

    def build(self, request_struct_class: type[_OffsetDeleteV0]) -> Any:
        topic = self._partitions[0].topic
        return request_struct_class(self._group_id, [(topic, [item.partition for item in self._partitions])])

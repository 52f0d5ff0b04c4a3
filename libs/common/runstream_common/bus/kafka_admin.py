"""Topics and groups on a Kafka cluster: create what is missing, read how far a group is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from runstream_contract.limits import MAX_MESSAGE_BYTES

from runstream_common.bus.kafka_errors import mapped_kafka_errors
from runstream_common.bus.policy import DEAD_LETTER_RETENTION_HOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka import TopicPartition
    from aiokafka.protocol.api import Request

    from runstream_common.bus.topics import Topic
    from runstream_common.settings import BusSettings

log = structlog.get_logger(__name__)

RECORD_HEADROOM_BYTES = 1024 * 1024
"""Room for the key, headers (a dead letter's hold an error text) and the batch around a largest message."""

MAX_RECORD_BYTES = MAX_MESSAGE_BYTES + RECORD_HEADROOM_BYTES

_MS_PER_HOUR = 3_600_000


class KafkaAdmin:
    """Asks the cluster about topics and groups; reconnects by itself.

    Args:
        prefix: put before every name.
    """

    def __init__(self, bootstrap: Sequence[str], settings: BusSettings) -> None:
        self._bootstrap = list(bootstrap)
        self._settings = settings
        self._prefix = settings.topic_prefix
        self._client: AIOKafkaAdminClient | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises Unavailable."""
        await self._connected()

    async def stop(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def ping(self, timeout_seconds: float = 5.0) -> None:
        """Raise Unavailable when no broker answers in time."""
        with mapped_kafka_errors():
            async with asyncio.timeout(timeout_seconds):
                await (await self._connected()).describe_cluster()

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Create the topics that do not exist; existing ones are left as they are. Raises Unavailable."""
        await self._create([self._new_topic(topic) for topic in topics])

    async def ensure_dead_letters(self, names: Iterable[str]) -> None:
        """Create dead-letter topics: one partition, so that a list has an order, and long retention."""
        config = self._config(DEAD_LETTER_RETENTION_HOURS)
        replicas = self._settings.kafka_replication_factor
        await self._create(
            [
                NewTopic(
                    self._prefix + name, num_partitions=1, replication_factor=replicas, topic_configs=config
                )
                for name in names
            ]
        )

    async def exists(self, topic: str) -> bool:
        """Whether there is such a topic. Raises Unavailable."""
        with mapped_kafka_errors():
            [found] = await (await self._connected()).describe_topics([self._prefix + topic])
        return bool(found["error_code"] == 0)

    async def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic, none if there is no such topic. Raises Unavailable."""
        with mapped_kafka_errors():
            [found] = await (await self._connected()).describe_topics([self._prefix + topic])
        return sorted(item["partition"] for item in found["partitions"])

    async def topic_names(self) -> list[str]:
        """Every topic of the cluster, with its prefix. Raises Unavailable."""
        with mapped_kafka_errors():
            return list(await (await self._connected()).list_topics())

    async def ask_coordinator(self, group_id: str, request: Request[Any]) -> Any:
        """Send a request that aiokafka's own client has no method for to a group's coordinator."""
        client = await self._connected()
        node = await client.find_coordinator(group_id)
        return await client._send_request_to_node(node, request)  # noqa: SLF001 - there is no public way

    async def committed(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """The offset that the group reads next, for each partition that it has committed. Raises Unavailable."""
        with mapped_kafka_errors():
            client = await self._connected()
            offsets = await client.list_consumer_group_offsets(
                self._prefix + group, partitions=list(partitions)
            )
        return {item: found.offset for item, found in offsets.items() if found.offset >= 0}

    def _new_topic(self, topic: Topic) -> NewTopic:
        return NewTopic(
            self._prefix + topic.name,
            num_partitions=topic.partitions or self._settings.kafka_partitions,
            replication_factor=self._settings.kafka_replication_factor,
            topic_configs=self._config(topic.retention_hours or self._settings.kafka_retention_hours),
        )

    def _config(self, retention_hours: int) -> dict[str, str]:
        config = {
            "retention.ms": str(retention_hours * _MS_PER_HOUR),
            "max.message.bytes": str(MAX_RECORD_BYTES),
            # What the producer compressed stays as it is, so the broker's CPU is spared.
            "compression.type": "producer",
        }
        if self._settings.kafka_replication_factor > 2:
            config["min.insync.replicas"] = "2"
        return config

    async def _create(self, topics: Sequence[NewTopic]) -> None:
        if not topics:
            return
        with mapped_kafka_errors():
            client = await self._connected()
            response = await client.create_topics(list(topics))
            for entry in response.topic_errors:
                name, code = entry[0], entry[1]
                if code == 0:
                    log.info("topic_created", topic=name)
                elif code != TopicAlreadyExistsError.errno:
                    raise for_code(code)(f"{name}: {entry[2] if len(entry) > 2 else ''}")

    async def _connected(self) -> AIOKafkaAdminClient:
        async with self._lock:
            if self._client is None:
                client = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="runstream-admin")
                try:
                    with mapped_kafka_errors():
                        await client.start()
                except BaseException:
                    # Also when a probe's time-out cancels it, or each probe would leave a connection behind.
                    await client.close()
                    raise
                self._client = client
            return self._client

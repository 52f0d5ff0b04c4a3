"""The local servers are what failure tests build on: each answers, and keeps what it acknowledged over kill -9."""

from __future__ import annotations

import io
import urllib.request
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from minio import Minio

from deploy.local.process import MissingToolError
from tests.support import servers

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.local.kafka.kafka import KafkaServer
    from deploy.local.s3.s3 import S3Server
    from tests.support.postgres import PostgresServer

_PART_BYTES = 5 * 1024 * 1024


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(bootstrap: str, topic: str, count: int, *, group: str | None = None) -> list[bytes]:
    """Read `count` values from the beginning, through a consumer group when one is named."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with consumer:
        if group is None:
            consumer.assign([TopicPartition(topic, 0)])
        else:
            consumer.subscribe([topic])
        return [(await consumer.getone()).value for _ in range(count)]


async def test_kafka_delivers_to_a_consumer_group(kafka_bootstrap: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}run-logged"
    await create_topic(kafka_bootstrap, topic)
    await produce(kafka_bootstrap, topic, [b"one", b"two"])
    assert await consume(kafka_bootstrap, topic, 2, group=f"{topic_prefix}metadata") == [b"one", b"two"]


async def test_kafka_keeps_acknowledged_messages_over_kill(disposable_kafka: KafkaServer) -> None:
    await create_topic(disposable_kafka.bootstrap, "kept")
    await produce(disposable_kafka.bootstrap, "kept", [b"before"])
    disposable_kafka.kill()
    assert not disposable_kafka.is_running()
    disposable_kafka.start()
    await produce(disposable_kafka.bootstrap, "kept", [b"after"])
    assert await consume(disposable_kafka.bootstrap, "kept", 2) == [b"before", b"after"]


async def test_database_of_each_test_is_empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        tables = await connection.fetchval(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        )
        await connection.execute("CREATE TABLE mine (id int)")
    finally:
        await connection.close()
    assert tables == 0


# The body is one test twice: the second would see the first one's table if databases were shared.
test_database_of_the_next_test_is_empty_too = test_database_of_each_test_is_empty


async def test_postgres_keeps_committed_rows_over_kill(disposable_postgres: PostgresServer) -> None:
    url = disposable_postgres.url("postgres").replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 41 AS value")
    open_transaction = connection.transaction()
    await open_transaction.start()
    await connection.execute("UPDATE kept SET value = 0")
    disposable_postgres.kill()
    assert not disposable_postgres.is_ready()
    connection.terminate()
    disposable_postgres.restart()
    assert disposable_postgres.execute("SELECT value FROM kept") == "41"


async def test_postgres_asks_for_a_password_over_tcp(disposable_postgres: PostgresServer) -> None:
    url = f"postgresql://postgres:wrong@127.0.0.1:{disposable_postgres.port}/postgres"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)


def test_s3_takes_presigned_and_multipart_uploads(s3_server: S3Server) -> None:
    client = Minio(
        s3_server.endpoint.removeprefix("http://"),
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region=s3_server.region,
        secure=False,
    )
    bucket = f"test-{uuid.uuid4().hex}"
    client.make_bucket(bucket)
    put = urllib.request.Request(
        client.presigned_put_object(bucket, "runs/model.bin"), b"weights", method="PUT"
    )
    assert urllib.request.urlopen(put, timeout=10).status == 200
    with urllib.request.urlopen(client.presigned_get_object(bucket, "runs/model.bin"), timeout=10) as answer:
        assert answer.read() == b"weights"

    large = bytes(_PART_BYTES) + b"tail"
    written = client.put_object(
        bucket, "runs/large.bin", io.BytesIO(large), len(large), part_size=_PART_BYTES
    )
    assert written.etag is not None
    assert written.etag.strip('"').endswith("-2"), "the upload must have been in two parts"
    assert client.stat_object(bucket, "runs/large.bin").size == len(large)


class _NeedsMissingTool:
    def __init__(self, data_dir: Path, port: int) -> None:
        pass

    def start(self) -> None:
        raise MissingToolError("`java` is not installed: install Java 17")

    def stop(self) -> None:
        pass


@pytest.mark.parametrize(("ci", "expected"), [("", pytest.skip.Exception), ("true", MissingToolError)])
def test_missing_tool_skips_on_a_laptop_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, expected: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with (
        pytest.raises(expected, match="install Java 17"),
        servers._running(_NeedsMissingTool, "runstream-test-"),
    ):
        pass

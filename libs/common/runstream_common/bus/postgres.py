"""The bus in a PostgreSQL table, over faststream-outbox: for one machine, and for small teams without Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from faststream_outbox.client import OutboxClient
from sqlalchemy import text

from runstream_common.bus.in_flight import InFlightBytes
from runstream_common.bus.messages import Backlog, Position
from runstream_common.bus.postgres_consumer import PostgresSubscription
from runstream_common.bus.postgres_dead_letters import PostgresDeadLetters
from runstream_common.bus.postgres_events import PostgresEventSource
from runstream_common.bus.postgres_groups import PostgresGroups
from runstream_common.bus.postgres_listener import PostgresListener
from runstream_common.bus.postgres_publisher import PostgresPublisher
from runstream_common.bus.postgres_schema import MESSAGE, SCHEMA, ensure_groups, ensure_schema
from runstream_common.bus.postgres_tail import PostgresTail, sweep_until_cancelled
from runstream_common.database import Database, mapped_errors
from runstream_common.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from runstream_common.bus.dead_letter_headers import DeadLetter
    from runstream_common.bus.messages import Message, Outgoing
    from runstream_common.bus.subscription import Subscription
    from runstream_common.bus.topics import Topic
    from runstream_common.settings import BusSettings

log = structlog.get_logger(__name__)

SPARE_CONNECTIONS = 4
CONNECTIONS_PER_SUBSCRIPTION = 3
"""Its batch, its lease, its lag."""

STATEMENT_TIMEOUT_MS = 30_000
STOP_SECONDS = 15.0

_APPLIED = text(
    f"""SELECT NOT EXISTS (SELECT 1 FROM {SCHEMA}.message
                         WHERE queue = :queue AND acquired_token IS NULL AND id <= :offset)
           AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.message
                         WHERE queue = :queue AND acquired_token IS NOT NULL AND id <= :offset)"""  # noqa: S608
)

# The sequence does not roll back and is read as it is, not as of a snapshot: every row that was committed before has an id
# up to its last value. Rows that take an id before and commit later may be waited for too, which does no harm.
_BACKLOG = f"""SELECT (SELECT last_value FROM {SCHEMA}.message_id_seq),
    least((SELECT min(id) FROM {SCHEMA}.message WHERE queue = $1 AND acquired_token IS NULL),
          (SELECT min(id) FROM {SCHEMA}.message WHERE queue = $1 AND acquired_token IS NOT NULL))"""  # noqa: S608

_SIZE = text(f"SELECT pg_total_relation_size('{SCHEMA}.message')")


class PostgresTransport:
    """See Transport. Positions are row ids in partition 0."""

    topology = "embedded"

    def __init__(self, url: str, settings: BusSettings) -> None:
        self._url = url
        self._settings = settings
        self._prefix = settings.topic_prefix
        self._publisher = PostgresPublisher(
            url,
            prefix=self._prefix,
            in_flight=InFlightBytes(settings.publish_max_in_flight_bytes),
            timeout_seconds=settings.publish_timeout_seconds,
        )
        self._database = self._open(SPARE_CONNECTIONS)
        self._queues: Database | None = None
        self._dead_letters = PostgresDeadLetters(self._database, self._prefix)
        self._groups = PostgresGroups(self._database, self._prefix)
        self._consumers: dict[str, PostgresSubscription] = {}
        self._sources: set[PostgresEventSource] = set()
        self._known_topics: set[str] = set()
        self._listens = False
        self._running: list[asyncio.Task[None]] = []
        self._helpers: list[asyncio.Task[None]] = []
        self._listener = PostgresListener(url, self._wake)

    async def start(self, topics: Sequence[Topic], subscriptions: Sequence[Subscription]) -> None:
        if subscriptions:
            # Should a crash take back a claim or a delete, the message comes again, and handlers know it by its id. Waiting
            # for the disk twice a batch would hold up those who publish, who wait for the same disk.
            self._queues = self._open(
                CONNECTIONS_PER_SUBSCRIPTION * len(subscriptions), durable_commits=False
            )
        async with mapped_errors():
            await ensure_schema(self._database.engine)
            await self.ensure_topics(topics)
            await ensure_groups(
                self._database.engine, [(self._prefix + item.topic, item.group) for item in subscriptions]
            )
        await self._publisher.start()
        if self._queues is not None:
            for subscription in subscriptions:
                self._consume(subscription, self._queues)
            self._listen()
        names = [self._prefix + topic.name for topic in topics]
        letters = [self._prefix + item.dead_letter_topic for item in subscriptions]
        retention_hours = self._settings.kafka_retention_hours
        sweep = sweep_until_cancelled(
            self._database, names, letters, groups=self._groups, retention_hours=retention_hours
        )
        self._help("sweep", sweep)

    async def stop_subscriptions(self) -> None:
        for consumer in self._consumers.values():
            consumer.subscription.stopping.set()
            consumer.wake.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=STOP_SECONDS)
            for task in late:
                log.warning("subscription_stop_timed_out")
                task.cancel()
        for task in self._helpers:
            task.cancel()
        await asyncio.gather(*self._helpers, *self._running, return_exceptions=True)

    async def stop(self) -> None:
        await self._publisher.stop()
        if self._queues is not None:
            await self._queues.stop()
        await self._database.stop()

    async def ping(self) -> None:
        await self._database.ping()
        for task in self._helpers:
            if task.done():
                raise FailedPrecondition(f"{task.get_name()} ended", reason="BUS_TASK_DIED")

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """A topic needs no table of its own here; its durable groups are noted, so they miss nothing."""
        self._known_topics.update(topic.name for topic in topics)
        known = [(self._prefix + topic.name, group) for topic in topics for group in topic.groups]
        await ensure_groups(self._database.engine, known)

    def send(self, outgoing: Outgoing) -> asyncio.Future[Position]:
        return self._publisher.send(outgoing)

    def _require(self, topic: str) -> None:
        if topic not in self._known_topics:
            raise NotFound(f"there is no topic {topic}", reason="TOPIC_NOT_FOUND")

    def tail(self, topic: str, *, from_beginning: bool) -> AsyncIterator[Message]:
        del from_beginning  # nothing is kept that every group has handled
        self._require(topic)
        return PostgresTail(self._database, self._prefix).follow(topic)

    @asynccontextmanager
    async def consume(
        self, topic: str, group: str, *, from_beginning: bool
    ) -> AsyncIterator[PostgresEventSource]:
        self._require(topic)
        created = await self._groups.join(topic, group, from_beginning=from_beginning)
        self._listen()
        source = PostgresEventSource(
            self._database,
            self._groups,
            topic,
            group,
            created=created,
            listening=lambda: self._listener.connected,
        )
        self._sources.add(source)
        keeping = asyncio.create_task(source.keep_lease())
        try:
            yield source
        finally:
            self._sources.discard(source)
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await source.release()

    async def delete_group(self, topic: str, group: str) -> None:
        await self._groups.delete(topic, group)
        self._wake(self._groups.queue(topic, group))

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        async with self._database.read() as session:
            for item in positions:
                queue = f"{self._prefix}{item.topic}.{group}"
                found = await session.execute(_APPLIED, {"queue": queue, "offset": item.offset})
                if not found.scalar_one():
                    return False
        return True

    async def backlog(self, topic: str, group: str) -> Backlog:
        """See Transport. A row leaves its queue after what handled it has committed, or to be parked."""
        async with self._database.driver() as connection:
            last, oldest = await connection.fetchrow(_BACKLOG, f"{self._prefix}{topic}.{group}")
        waiting = () if oldest is None else (Position(topic, 0, oldest),)
        return Backlog((Position(topic, 0, last),), waiting)

    async def external_groups(self, topic: str) -> list[str]:
        return await self._groups.of_topic(topic)

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
        """See Transport: table, indexes and large values, with the room that vacuum has not given back."""
        async with self._database.read() as session:
            return int((await session.execute(_SIZE)).scalar_one())

    def _open(self, connections: int, *, durable_commits: bool = True) -> Database:
        return Database(
            self._url,
            schema=SCHEMA,
            application_name="runstream-bus",
            pool_size=connections,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
            durable_commits=durable_commits,
        )

    def _consume(self, subscription: Subscription, queues: Database) -> None:
        engine = queues.engine.execution_options(isolation_level="AUTOCOMMIT")
        consumer = PostgresSubscription(
            subscription,
            prefix=self._prefix,
            client=OutboxClient(engine, MESSAGE),
            engine=engine,
            listening=lambda: self._listener.connected,
        )
        self._consumers[consumer.queue] = consumer
        self._running.append(asyncio.create_task(consumer.run()))
        self._help(f"leases of {subscription.name}", consumer.renew_leases())
        self._help(f"lag of {subscription.name}", consumer.watch_lag())

    def _listen(self) -> None:
        if not self._listens:
            self._listens = True
            self._help("listener", self._listener.run())

    def _help(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Run what should run as long as the bus; should it end, readiness says so."""
        task = asyncio.create_task(work, name=f"bus {what}")
        task.add_done_callback(_log_death)
        self._helpers.append(task)

    def _wake(self, queue: str | None) -> None:
        waiters: list[PostgresSubscription | PostgresEventSource] = [
            *self._consumers.values(),
            *self._sources,
        ]
        for waiting in waiters:
            if queue is None or waiting.queue == queue:
                waiting.wake.set()


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("bus_task_died", task=task.get_name(), exc_info=task.exception())

"""One subscription on Kafka: FastStream delivers batches, our runner commits explicit offsets.

FastStream's acks are not used: an ack commits the consumed position of every assigned partition, a nack seeks
and delivers again at once, without a delay. Here a batch is held in place while it is retried. FastStream asks
for the next batch only when the handler has returned, so nothing behind a held batch is read past it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from runstream_contract.limits import MAX_MESSAGE_BYTES

from runstream_common.bus.dead_letter_headers import parking_headers
from runstream_common.bus.kafka_errors import away
from runstream_common.bus.kafka_records import to_message
from runstream_common.bus.messages import Message, Outgoing, Rejected
from runstream_common.bus.policy import DeadLetterRatioExceededError
from runstream_common.bus.runner import AbandonedError, BatchRunner, cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from runstream_common.bus.subscription import Subscription

log = structlog.get_logger(__name__)

REVOKE_WAIT_SECONDS = 5.0
"""How long a rebalance waits for the batch in hand; below the session timeout, so that membership is kept."""

LOOK_EVERY_SECONDS = 0.2
"""A held batch looks this often for a rebalance, which waits for it, and refreshes the poll clock."""

LAG_EVERY_SECONDS = 2.0
COMMIT_ATTEMPT_SECONDS = 10.0


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs one subscription's batches and follows its rebalances.

    Args:
        send: publishes a dead letter; resolves when it is durable.
        consumer: the consumer that FastStream made, None before it has.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        physical_topic: str,
        send: Callable[[Outgoing], Awaitable[object]],
        consumer: Callable[[], AIOKafkaConsumer | None],
    ) -> None:
        self.subscription = subscription
        self.physical_topic = physical_topic
        self.send = send
        self._consumer = consumer
        self._runner = BatchRunner(subscription)
        self._generation = 0
        self.revoking = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._committed: dict[int, int] = {}
        self._handled_ms: dict[int, int] = {}

    @property
    def generation(self) -> int:
        """Changes with every rebalance; a batch of an earlier one is not ours to commit."""
        return self._generation

    async def on_batch(self, records: tuple[ConsumerRecord[Any, Any], ...]) -> None:
        """Handle what FastStream polled. When this returns, the next batch is polled.

        So after a stop it does not return until shutdown: the next batch's commit would skip this one.
        """
        if self.subscription.stopping.is_set():
            return
        self._idle.clear()
        generation = self._generation
        try:
            messages = [to_message(record, self.subscription.topic) for record in records]
            for chunk in cut(messages, self.subscription.max_bytes, lambda message: len(message.value)):
                await self._runner.run(_KafkaDelivery(self, chunk, generation))
        except AbandonedError as reason:
            log.info("batch_abandoned", subscription=self.subscription.name, reason=str(reason))
        except DeadLetterRatioExceededError:
            await self._stand_still()
        except Exception as raised:
            self.subscription.set_state("stopped", f"{type(raised).__name__}: {raised}")
            log.exception("subscription_failed", subscription=self.subscription.name)
            await self._stand_still()
        finally:
            self._idle.set()

    async def _stand_still(self) -> None:
        self._idle.set()
        await self.subscription.stopping.wait()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Give the batch in hand a moment to commit; after that it is delivered again, to its next owner."""
        del revoked  # always all of them: see docs/decisions on the assignor
        self.revoking = True
        try:
            async with asyncio.timeout(REVOKE_WAIT_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.warning("batch_outlived_rebalance", subscription=self.subscription.name)
        finally:
            self._generation += 1
            self.revoking = False

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Report on the new partitions only, and say that the subscription is ready."""
        mine = frozenset(item.partition for item in assigned)
        for partition in set(self.subscription.lag) - mine:
            self.subscription.forget_partition(partition)
        self._committed = {p: offset for p, offset in self._committed.items() if p in mine}
        if self.subscription.on_partitions is not None:
            self.subscription.on_partitions(mine)
        self.subscription.progressed()

    async def commit(self, messages: Sequence[Message], generation: int) -> None:
        """Commit explicit offsets for exactly these messages' partitions.

        A commit that fails because of a rebalance is dropped: the messages are delivered again and their
        handler changes nothing the second time.

        Raises:
            AbandonedError: the partitions are not ours any more.
        """
        consumer = self._consumer()
        if consumer is None or generation != self._generation:
            raise AbandonedError("rebalanced before the commit")
        offsets: dict[TopicPartition, int] = {}
        for message in messages:
            offsets[TopicPartition(self.physical_topic, message.partition)] = message.offset + 1
            self._handled_ms[message.partition] = message.timestamp_ms
        try:
            async with asyncio.timeout(COMMIT_ATTEMPT_SECONDS):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            raise AbandonedError(f"rebalanced during the commit: {error}") from error
        except TimeoutError as error:
            raise away() from error
        self._committed.update({item.partition: offset for item, offset in offsets.items()})

    async def keep_membership(self) -> None:
        """Refresh the poll clock without taking a record.

        aiokafka's heartbeat goes on by itself, but it leaves the group when nobody polled for
        max_poll_interval_ms. Asking for a partition that cannot exist returns nothing and resets that clock.
        """
        consumer = self._consumer()
        if consumer is None or self.revoking:
            return
        try:
            await consumer.getmany(TopicPartition(self.physical_topic, -1), timeout_ms=0)
        except KafkaError as error:
            # The poll clock is reset all the same, and the batch stays in hand.
            log.warning("membership_unsure", subscription=self.subscription.name, error=str(error))

    async def watch_lag(self) -> None:
        """Report how far behind each assigned partition is, until cancelled."""
        while True:
            try:
                await self._measure_lag()
            except (KafkaError, OSError, TimeoutError) as error:
                log.debug("lag_unknown", subscription=self.subscription.name, error=str(error))
            await asyncio.sleep(LAG_EVERY_SECONDS)

    async def _measure_lag(self) -> None:
        consumer = self._consumer()
        assigned = [] if consumer is None else list(consumer.assignment())
        if consumer is None or not assigned:
            return
        async with asyncio.timeout(LAG_EVERY_SECONDS):
            ends = await consumer.end_offsets(assigned)
            starts = {
                item: await consumer.committed(item)
                for item in assigned
                if item.partition not in self._committed
            }
        for item, committed in starts.items():
            self._committed.setdefault(item.partition, committed or 0)
        now_ms = time.time_ns() // 1_000_000
        for item, end in ends.items():
            behind = max(0, end - self._committed.get(item.partition, 0))
            oldest = self._handled_ms.get(item.partition, now_ms) if behind else None
            self.subscription.note_lag(item.partition, behind, oldest)
        if not any(self.subscription.lag.values()):
            self.subscription.progressed()


class _KafkaDelivery:
    """One chunk of a polled batch."""

    def __init__(self, owner: KafkaSubscription, messages: Sequence[Message], generation: int) -> None:
        self._owner = owner
        self._messages = messages
        self._generation = generation

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    async def park(self, rejected: Sequence[Rejected], first_seen_ms: int) -> None:
        letters = [self._letter(item, first_seen_ms) for item in rejected]
        await asyncio.gather(*(self._owner.send(letter) for letter in letters))

    def _letter(self, item: Rejected, first_seen_ms: int) -> Outgoing:
        subscription, value = self._owner.subscription, item.message.value
        if len(value) > MAX_MESSAGE_BYTES:
            # Its producer's compression got it past the broker's limit. Parking must succeed, or it is held for ever.
            lost = f"{item.detail} (parked without its {len(value)} bytes; they are at its first place)"
            item, value = replace(item, detail=lost), b""
        return Outgoing(
            topic=subscription.dead_letter_topic,
            key=item.message.key,
            value=value,
            headers=parking_headers(item, subscription.group, first_seen_ms),
        )

    async def commit(self) -> None:
        await self._owner.commit(self._messages, self._generation)

    async def hold(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check_still_ours()
            await self._owner.keep_membership()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._owner.subscription.stopping.wait(), min(left, LOOK_EVERY_SECONDS)
                )
        self._check_still_ours()

    def _check_still_ours(self) -> None:
        if self._owner.subscription.stopping.is_set():
            raise AbandonedError("shutting down")
        if self._owner.revoking or self._generation != self._owner.generation:
            raise AbandonedError("rebalanced while the batch was held")

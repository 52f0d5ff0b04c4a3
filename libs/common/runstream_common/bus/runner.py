"""What happens to a batch between delivery and commit; the same for every transport.

handler returned     → park what it rejected → commit
transient error      → hold the batch, wait, try again, without a last attempt
any other error      → halve the batch until the message that raises it is alone; try that one a few
                       times, then park it
too many bad ones    → stop the subscription and commit nothing
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from runstream_common.bus import metrics
from runstream_common.bus.messages import TARGET_GROUP, Message, Rejected
from runstream_common.bus.policy import DeadLetterRatioExceededError, RatioLimit
from runstream_common.database_errors import map_database_error
from runstream_common.errors import PlatformError, PoisonMessage, ResourceExhausted, RetryLater, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from runstream_common.bus.subscription import Subscription

log = structlog.get_logger(__name__)

T = TypeVar("T")

SPLIT_AFTER_ATTEMPTS = 3
"""A batch that keeps timing out or losing against other writers is halved: a smaller one may get through."""

UNEXPECTED_ERROR = "UNEXPECTED_ERROR"
"""Reason of a message whose handling raised something that is neither transient nor a refusal."""


class AbandonedError(Exception):
    """The batch is no longer ours (shutdown or rebalance): nothing is committed and it is delivered again."""


class Delivery(Protocol):
    """A batch that a transport delivered, and what may be done with it."""

    @property
    def messages(self) -> Sequence[Message]:
        """What was delivered, in order."""
        ...

    async def park(self, rejected: Sequence[Rejected], first_seen_ms: int) -> None:
        """Put messages into the dead-letter queue; returns when that is durable."""
        ...

    async def commit(self) -> None:
        """Note that the whole batch is done with."""
        ...

    async def hold(self, seconds: float) -> None:
        """Wait, and stay a member of the group meanwhile. Raises AbandonedError when the batch is not ours any more."""
        ...


class BatchRunner:
    """Runs the batches of one subscription, one after the other."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._limit = RatioLimit(subscription.dead_letter)
        self._isolated = 0

    async def run(self, delivery: Delivery) -> None:
        """Handle, park, commit.

        Raises:
            AbandonedError: the batch was not committed and will be delivered again, here or elsewhere.
            DeadLetterRatioExceededError: likewise, and the subscription is stopped.
        """
        started, first_seen_ms = time.perf_counter(), time.time_ns() // 1_000_000
        self._isolated = 0
        mine = [message for message in delivery.messages if self._is_mine(message)]
        try:
            rejected = await self._apply(mine, delivery) if mine else []
            self._limit.check(len(rejected))
        except DeadLetterRatioExceededError as error:
            self._stop(error)
            raise
        if rejected:
            await self._persist(delivery, lambda: delivery.park(rejected, first_seen_ms), "park")
            self._count_parked(rejected)
        await self._persist(delivery, delivery.commit, "commit")
        self._count_done(delivery.messages, rejected, time.perf_counter() - started)

    def _is_mine(self, message: Message) -> bool:
        target = message.headers.get(TARGET_GROUP)
        return target is None or target == self._subscription.group

    async def _apply(self, batch: Sequence[Message], delivery: Delivery) -> list[Rejected]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return list(await self._subscription.handler(batch))
            except Exception as raised:  # noqa: BLE001 - every error of a handler is dealt with here
                transient = transient_error(raised)
                if len(batch) > 1 and _worth_splitting(transient, attempt):
                    log.warning("batch_split", subscription=self._subscription.name, messages=len(batch))
                    return await self._split(batch, delivery)
                if transient is None and self._is_final(raised, attempt):
                    return [self._reject(batch[0], raised, attempt)]
                await self._hold(delivery, transient or raised, attempt)

    async def _split(self, batch: Sequence[Message], delivery: Delivery) -> list[Rejected]:
        middle = len(batch) // 2
        first = await self._apply(batch[:middle], delivery)
        return first + await self._apply(batch[middle:], delivery)

    def _is_final(self, raised: Exception, attempt: int) -> bool:
        # A refusal in our own terms stays one; an unexpected error may be gone the next time.
        return isinstance(raised, (PoisonMessage, PlatformError)) or (
            attempt >= self._subscription.dead_letter.attempts
        )

    def _reject(self, message: Message, raised: Exception, attempts: int) -> Rejected:
        self._isolated += 1
        self._limit.check(self._isolated)
        log.warning(
            "message_rejected",
            subscription=self._subscription.name,
            partition=message.partition,
            offset=message.offset,
            attempts=attempts,
            error=f"{type(raised).__name__}: {raised}",
            # A refusal says what is wrong; only a surprise needs its traceback.
            exc_info=None if isinstance(raised, (PoisonMessage, PlatformError)) else raised,
        )
        if isinstance(raised, PoisonMessage):
            return Rejected(message, raised.reason, raised.detail, attempts)
        if isinstance(raised, PlatformError):
            return Rejected(message, raised.reason, str(raised), attempts)
        return Rejected(message, UNEXPECTED_ERROR, f"{type(raised).__name__}: {raised}", attempts)

    async def _persist(self, delivery: Delivery, step: Callable[[], Awaitable[None]], what: str) -> None:
        """Do what must not be lost, for as long as it takes."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await step()
            except AbandonedError:
                raise
            except Exception as raised:  # noqa: BLE001 - giving up here would lose or repeat the batch
                log.warning("bus_step_failed", subscription=self._subscription.name, step=what)
                await self._hold(delivery, transient_error(raised) or raised, attempt)

    async def _hold(self, delivery: Delivery, error: Exception, attempt: int) -> None:
        wanted = error.delay_seconds if isinstance(error, RetryLater) else None
        delay = self._subscription.retry.delay_seconds(attempt) if wanted is None else wanted
        cause = getattr(error, "reason", type(error).__name__)
        metrics.RETRIED.labels(self._subscription.topic, self._subscription.group, cause).inc()
        self._subscription.set_state("retrying", f"{cause}: {error}")
        log.warning(
            "batch_held",
            subscription=self._subscription.name,
            messages=len(delivery.messages),
            attempt=attempt,
            delay_seconds=round(delay, 3),
            error=str(error),
            cause=cause,
        )
        await delivery.hold(delay)

    def _stop(self, error: DeadLetterRatioExceededError) -> None:
        self._subscription.set_state("stopped", str(error))
        log.error("subscription_stopped", subscription=self._subscription.name, reason=str(error))

    def _count_parked(self, rejected: Sequence[Rejected]) -> None:
        for item in rejected:
            metrics.DEAD_LETTERED.labels(
                self._subscription.topic, self._subscription.group, item.reason
            ).inc()

    def _count_done(self, messages: Sequence[Message], rejected: Sequence[Rejected], seconds: float) -> None:
        labels = (self._subscription.topic, self._subscription.group)
        self._limit.record(len(messages) - len(rejected), len(rejected))
        metrics.CONSUMED.labels(*labels).inc(len(messages))
        metrics.CONSUMED_BYTES.labels(*labels).inc(sum(len(message.value) for message in messages))
        metrics.HANDLE_SECONDS.labels(*labels).observe(seconds)
        self._subscription.note_applied(messages)
        self._subscription.progressed()


def cut(items: Sequence[T], max_bytes: int, size_bytes: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut a batch so that each part stays under ``max_bytes``, unless one item alone is larger."""
    start, total = 0, 0
    for index, item in enumerate(items):
        size = size_bytes(item)
        if total and total + size > max_bytes:
            yield items[start:index]
            start, total = index, 0
        total += size
    yield items[start:]


def transient_error(raised: Exception) -> Exception | None:
    """The error in our own terms if waiting may help, else None."""
    if isinstance(raised, (RetryLater, Unavailable, ResourceExhausted)):
        return raised
    known = raised if isinstance(raised, PlatformError) else map_database_error(raised)
    if known is not None:
        return known if known.retryable else None
    return raised if isinstance(raised, (OSError, TimeoutError)) else None


def _worth_splitting(transient: Exception | None, attempt: int) -> bool:
    if transient is None:
        return True
    if isinstance(transient, PlatformError) and not isinstance(transient, (Unavailable, ResourceExhausted)):
        return attempt >= SPLIT_AFTER_ATTEMPTS
    return False

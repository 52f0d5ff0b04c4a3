"""Delivers what is queued for webhooks. Any number of replicas may: each claims what it has room for."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from runstream_common.errors import PlatformError

from runstream_registry.store import delivery_repository
from runstream_registry.webhooks import delivery_metrics
from runstream_registry.webhooks.webhooks import MAX_WEBHOOKS

if TYPE_CHECKING:
    from runstream_common.database import Database

    from runstream_registry.settings import RegistrySettings
    from runstream_registry.webhook_entities import ClaimedDelivery
    from runstream_registry.webhooks.deliveries import Deliveries

log = structlog.get_logger(__name__)

DATABASE_RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How much one worker does at once.

    Args:
        slots: calls in progress.
        slots_per_webhook: calls in progress to one webhook.
        lease_seconds: how long a claimed delivery is left alone by others.
        poll_seconds: longest time between two looks.
    """

    slots: int
    slots_per_webhook: int
    lease_seconds: float
    poll_seconds: float

    @classmethod
    def from_settings(cls, settings: RegistrySettings) -> WorkerLimits:
        """As the settings say."""
        return cls(
            slots=settings.webhook_concurrency,
            slots_per_webhook=settings.webhook_concurrency_per_receiver,
            lease_seconds=settings.webhook_timeout_seconds + settings.webhook_takeover_seconds,
            poll_seconds=settings.webhook_poll_seconds,
        )


class DeliveryWorker:
    """Claims deliveries that are due and attempts them.

    A receiver that fails holds up nobody: it gets one slot until it answers again, and all of those that fail together
    get half of the slots.

    Args:
        woken: set when something new may be due.
    """

    def __init__(
        self, database: Database, deliveries: Deliveries, woken: asyncio.Event, limits: WorkerLimits
    ) -> None:
        self._database = database
        self._deliveries = deliveries
        self._woken = woken
        self._limits = limits
        self._in_flight: dict[asyncio.Task[None], ClaimedDelivery] = {}
        # The one whose turn was longest ago comes first.
        self._failing: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is given back for others to take."""
        try:
            while True:
                self._woken.clear()
                await self._fill_slots()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.poll_seconds):
                        await self._woken.wait()
        finally:
            await self._give_back()

    async def _fill_slots(self) -> None:
        free = self._limits.slots - len(self._in_flight)
        if free <= 0:
            return
        try:
            async with self._database.driver() as connection:
                claimed = await delivery_repository.claim(
                    connection,
                    limit=free,
                    limit_per_webhook=self._limits.slots_per_webhook,
                    own_limits=self._own_limits(),
                    lease_seconds=self._limits.lease_seconds,
                )
        except PlatformError as error:
            if not error.retryable:
                raise
            log.warning("webhook_claim_postponed", reason=error.reason, error=error.message)
            await asyncio.sleep(DATABASE_RETRY_SECONDS)
            return
        for delivery in claimed:
            self._start(delivery)

    def _own_limits(self) -> dict[str, int]:
        """Free slots of the webhooks that have fewer than the usual number."""
        busy = Counter(delivery.webhook_id for delivery in self._in_flight.values())
        most = self._limits.slots_per_webhook
        limits = {webhook_id: max(most - count, 0) for webhook_id, count in busy.items()}
        for_failing = self._limits.slots // 2 - sum(busy[webhook_id] for webhook_id in self._failing)
        limits.update(dict.fromkeys(self._failing, 0))
        # In turn: most of them have nothing due, and must not keep the others from their slot.
        idle = [webhook_id for webhook_id in self._failing if not busy[webhook_id]]
        for webhook_id in idle[: max(for_failing, 0)]:
            limits[webhook_id] = 1
            self._failing.move_to_end(webhook_id)
        return limits

    def _start(self, delivery: ClaimedDelivery) -> None:
        task = asyncio.create_task(self._attempt(delivery), name=f"webhook delivery {delivery.delivery_id}")
        self._in_flight[task] = delivery
        delivery_metrics.IN_FLIGHT.inc()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A freed slot may be wanted by what is due already.
        if self._in_flight.pop(task, None) is not None:
            delivery_metrics.IN_FLIGHT.dec()
        self._woken.set()

    async def _attempt(self, delivery: ClaimedDelivery) -> None:
        try:
            answer = await self._deliveries.attempt(delivery)
        except PlatformError as error:
            # Not stored, so the lease runs out and the delivery is made once more, under the same id.
            log.warning("webhook_report_lost", delivery_id=delivery.delivery_id, error=error.message)
            return
        except Exception:
            log.exception("webhook_attempt_broke", delivery_id=delivery.delivery_id)
            return
        delivery_metrics.SECONDS.observe(answer.duration_ms / 1000)
        if answer.success:
            self._failing.pop(delivery.webhook_id, None)
        else:
            self._note_failing(delivery.webhook_id)
        outcome = "delivered" if answer.success else "refused" if answer.status else "unanswered"
        delivery_metrics.ATTEMPTS.labels(outcome).inc()

    def _note_failing(self, webhook_id: str) -> None:
        self._failing[webhook_id] = None
        if len(self._failing) > MAX_WEBHOOKS:  # some of them were deleted
            self._failing.popitem(last=False)

    async def _give_back(self) -> None:
        left = list(self._in_flight.items())
        for task, _ in left:
            task.cancel()
        await asyncio.gather(*(task for task, _ in left), return_exceptions=True)
        broken_off = [delivery for task, delivery in left if task.cancelled()]
        if not broken_off:
            return
        try:
            async with self._database.driver() as connection:
                await delivery_repository.release(connection, broken_off)
        except PlatformError as error:
            log.warning("webhook_release_failed", count=len(broken_off), error=error.message)

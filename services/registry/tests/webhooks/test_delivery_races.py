"""Deliveries when something else happens at the same moment, and the turns that webhooks get."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from runstream_registry import webhook_wiring
from runstream_registry.jobs import deliver_webhooks
from runstream_registry.jobs.deliver_webhooks import DeliveryWorker, WorkerLimits
from runstream_registry.notices import Notice
from runstream_registry.store import delivery_queue, delivery_repository, webhook_repository
from runstream_registry.webhook_entities import DeliveryState

from services.registry.tests.webhooks.support import CREATED, status, tell, until

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def claim(database, *, limit=10):
    async with database.driver() as connection:
        return await delivery_repository.claim(
            connection, limit=limit, limit_per_webhook=10, own_limits={}, lease_seconds=60
        )


async def only_delivery(parts, webhook):
    [delivery], _ = await parts.deliveries.page(webhook.webhook_id, None, None, 100)
    return delivery


async def test_a_change_goes_through_while_a_webhook_is_deleted(database, parts, register):
    webhook, stays = await register("http://127.0.0.1:1024/"), await register("http://127.0.0.1:1024/")

    async with database.driver() as deleting, database.driver() as watching:
        transaction = deleting.transaction()
        await transaction.start()
        await webhook_repository.delete(deleting, webhook.webhook_id)
        change = asyncio.create_task(tell(database, CREATED))

        async def waits():
            return change.done() or await watching.fetchval(WAITING) == 1

        await until(waits)
        await transaction.commit()
    await change

    assert [item.webhook_id for item in await claim(database)] == [stays.webhook_id]


async def test_a_change_does_not_wait_for_a_webhook_that_is_being_updated(database, parts, register):
    webhook = await register("http://127.0.0.1:1024/")

    async with database.driver() as updating, database.driver() as changing, updating.transaction():
        await webhook_repository.select(updating, webhook.webhook_id, lock=True)
        await changing.execute("SET lock_timeout = 1")
        await delivery_queue.enqueue(changing, [CREATED], 1)
        await changing.execute("RESET lock_timeout")

    assert len(await claim(database)) == 1


async def test_few_slots_go_to_every_webhook_in_time(database, parts, register):
    webhooks = [await register("http://127.0.0.1:1024/") for _ in range(3)]
    await tell(database, *[CREATED] * 60)

    taken = Counter([(await claim(database, limit=1))[0].webhook_id for _ in range(60)])

    assert taken.keys() == {webhook.webhook_id for webhook in webhooks}


async def test_a_failure_under_way_does_not_end_the_round_that_was_asked_for_meanwhile(
    database, parts, receiver, register, settings
):
    webhook = await register(receiver.url)
    await tell(database, CREATED)
    receiver.usual = status(404)
    [under_way] = await claim(database)

    await parts.deliveries.redeliver(under_way.delivery_id)
    await parts.deliveries.attempt(under_way)

    delivery = await only_delivery(parts, webhook)
    assert (delivery.state, len(delivery.attempts)) == (DeliveryState.PENDING, 1)
    [again] = await claim(database)
    assert (again.delivery_id, again.attempt, again.attempt_in_round) == (under_way.delivery_id, 2, 1)


async def test_failing_receivers_with_nothing_due_do_not_keep_others_that_failed_from_their_turn(
    database, parts, receiver, other_receiver, register, settings
):
    """Four fail and wait for long, in a worker that gives failing ones two slots; a fifth recovers."""
    limits = WorkerLimits(slots=4, slots_per_webhook=1, lease_seconds=60, poll_seconds=0.02)
    for _ in range(4):
        await register(receiver.url, models="bad")
    await register(other_receiver.url, models="fraud")
    receiver.usual = status(500, Retry_After="3600")
    settings = settings.model_copy(update={"webhook_max_retry_seconds": 3600.0})
    patient = webhook_wiring.WebhookParts(settings, database, parts.deliveries._clock)
    worker = DeliveryWorker(database, patient.deliveries, asyncio.Event(), limits)
    running = asyncio.create_task(worker.run())
    try:
        await tell(database, Notice("MODEL_VERSION", "CREATED", "bad", CREATED.data))
        await receiver.wait_for_calls(4)
        other_receiver.answers.append(status(500))
        await tell(database, CREATED)
        await other_receiver.wait_for_calls(2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await patient.sender.stop()


@pytest.fixture
def at_most_two_webhooks(monkeypatch):
    monkeypatch.setattr(deliver_webhooks, "MAX_WEBHOOKS", 2)


async def test_failing_webhooks_that_were_deleted_do_not_pile_up(
    database, parts, receiver, register, at_most_two_webhooks
):
    limits = WorkerLimits(slots=4, slots_per_webhook=1, lease_seconds=60, poll_seconds=0.02)
    receiver.usual = status(404)
    worker = DeliveryWorker(database, parts.deliveries, asyncio.Event(), limits)
    running = asyncio.create_task(worker.run())
    try:
        for count in range(1, 5):
            webhook = await register(receiver.url)
            await tell(database, CREATED)

            async def settled(webhook=webhook):
                return (await only_delivery(parts, webhook)).state == DeliveryState.FAILED

            await until(settled)
            await parts.webhooks.delete(webhook.webhook_id, actor="ada")
            assert len(worker._failing) <= min(count, 2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

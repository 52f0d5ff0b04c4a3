"""Delivery of webhooks: once for each committed change, again after failures, and nobody waits for a bad receiver."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.supervision import Supervisor
from runstream_registry.notices import Notice
from runstream_registry.store import delivery_queue, delivery_repository
from runstream_registry.store.delivery_queue import MAX_BODY_BYTES
from runstream_registry.webhook_entities import DeliveryState, WebhookEvent, WebhookStatus
from runstream_registry.webhook_wiring import WebhookParts
from runstream_registry.webhooks.webhooks import WebhookDraft

from services.registry.tests.webhooks.support import CREATED, hang_until, status, tell, until

SECRET = "a secret of enough length"


async def log_of(parts, webhook):
    page, _ = await parts.deliveries.page(webhook.webhook_id, None, None, 100)
    return page


async def settled(parts, webhook, count=1):
    """The log, once `count` deliveries were delivered or given up."""

    async def done():
        return len([d for d in await log_of(parts, webhook) if d.state != DeliveryState.PENDING]) >= count

    await until(done)
    return await log_of(parts, webhook)


async def test_a_committed_change_is_told_once_with_mlflows_body_and_headers(
    database, parts, receiver, register, start_worker
):
    webhook = await register(receiver.url, secret=SECRET)
    start_worker()

    await tell(database, CREATED)
    [delivery] = await settled(parts, webhook)
    [call] = receiver.calls

    assert call.json == {
        "entity": "model_version",
        "action": "created",
        "timestamp": "2023-11-14T22:13:20.000+00:00",
        "data": {"name": "fraud", "version": "1"},
    }
    assert call.is_signed_with(SECRET)
    assert call.headers["Content-Type"] == "application/json"
    assert (delivery.delivery_id, delivery.body_json) == (call.delivery_id, call.body)
    assert (delivery.state, [a.response_status for a in delivery.attempts]) == (
        DeliveryState.DELIVERED,
        [200],
    )
    assert delivery.next_attempt_time_ms == 0


async def test_a_change_that_is_rolled_back_is_not_told(database, parts, receiver, register, start_worker):
    webhook = await register(receiver.url)
    start_worker()

    with pytest.raises(ZeroDivisionError):
        async with database.driver() as connection, connection.transaction():
            await delivery_queue.enqueue(connection, [CREATED], 1)
            raise ZeroDivisionError
    await tell(database, Notice("MODEL_VERSION", "CREATED", "kept", {"name": "kept"}))

    assert len(await settled(parts, webhook)) == 1
    assert [call.json["data"]["name"] for call in receiver.calls] == ["kept"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ["fraud", "fraud-eu", "100%_x"]),
        ({"models": "fraud*"}, ["fraud", "fraud-eu"]),
        ({"models": "fraud-??"}, ["fraud-eu"]),
        ({"models": "100%_*"}, ["100%_x"]),
        ({"models": "1__%_x"}, []),
        ({"models": "Fraud"}, []),
        ({"events": [WebhookEvent("PROMPT_VERSION", "CREATED")]}, []),
        ({"status": WebhookStatus.DISABLED}, []),
    ],
)
async def test_only_those_are_told_that_asked(database, parts, register, fields, told):
    webhook = await register("http://127.0.0.1:1024/", **fields)

    names = ["fraud", "fraud-eu", "100%_x"]
    await tell(database, *(Notice("MODEL_VERSION", "CREATED", name, {"name": name}) for name in names))

    found = [name for name in names for d in await log_of(parts, webhook) if f'"{name}"' in d.body_json]
    assert found == told


async def test_it_is_tried_again_under_the_same_id_until_the_receiver_recovers(
    database, parts, receiver, register, start_worker
):
    webhook = await register(receiver.url, secret=SECRET)
    receiver.answers.extend([status(500), status(429, Retry_After="0"), status(408)])
    start_worker()

    await tell(database, CREATED)
    [delivery] = await settled(parts, webhook)

    assert [attempt.response_status for attempt in delivery.attempts] == [500, 429, 408, 200]
    assert delivery.state == DeliveryState.DELIVERED
    assert {call.delivery_id for call in receiver.calls} == {delivery.delivery_id}
    assert all(call.is_signed_with(SECRET) for call in receiver.calls)


async def test_it_is_given_up_after_the_last_attempt_and_can_be_asked_for_again(
    database, parts, receiver, register, start_worker
):
    webhook = await register(receiver.url)
    receiver.answers.extend([status(503)] * 6)
    start_worker()

    await tell(database, CREATED)
    [given_up] = await settled(parts, webhook)
    await parts.deliveries.redeliver(given_up.delivery_id)
    await receiver.wait_for_calls(7)

    [delivery] = await settled(parts, webhook)
    assert (given_up.state, len(given_up.attempts)) == (DeliveryState.FAILED, 4)
    assert [attempt.response_status for attempt in delivery.attempts] == [503] * 6 + [200]


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, ""), (401, ""), (404, ""), (410, ""), (302, "redirects are not followed")],
)
async def test_a_refusal_that_stays_is_final(database, parts, receiver, register, start_worker, code, error):
    webhook = await register(receiver.url)
    receiver.answers.append(status(code, Location=receiver.url))
    start_worker()

    await tell(database, CREATED)
    [delivery] = await settled(parts, webhook)

    assert delivery.state == DeliveryState.FAILED
    assert [(a.response_status, a.error_message) for a in delivery.attempts] == [(code, error)]
    assert len(receiver.calls) == 1


async def test_retry_after_is_kept(database, parts, receiver, register, settings, start_worker):
    webhook = await register(receiver.url)
    parts.deliveries._retry = parts.deliveries._retry.__class__(4, 0.001, 7200.0)
    receiver.answers.append(status(429, Retry_After="3600"))
    start_worker()

    await tell(database, CREATED)
    await receiver.wait_for_calls(1)

    async def attempted():
        return bool((await log_of(parts, webhook))[0].attempts)

    await until(attempted)
    [delivery] = await log_of(parts, webhook)
    waits_ms = delivery.next_attempt_time_ms - delivery.attempts[0].time_ms
    assert delivery.state == DeliveryState.PENDING
    assert 3_590_000 < waits_ms < 3_700_000


async def test_a_hanging_receiver_holds_up_nobody(
    database, parts, receiver, other_receiver, register, start_worker
):
    await register(receiver.url)
    webhook = await register(other_receiver.url)
    released = asyncio.Event()
    receiver.usual = hang_until(released)
    start_worker(slots=4, slots_per_webhook=2)

    await tell(database, *[CREATED] * 20)
    log = await settled(parts, webhook, count=20)
    in_progress = len(receiver.calls)
    released.set()

    assert [delivery.state for delivery in log] == [DeliveryState.DELIVERED] * 20
    assert in_progress == 2


async def test_failing_receivers_together_leave_slots_to_the_others(
    database, parts, receiver, other_receiver, register, start_worker
):
    for _ in range(4):
        await register(receiver.url)
    receiver.usual = status(500)
    start_worker(slots=4, slots_per_webhook=1)
    await tell(database, CREATED)
    await receiver.wait_for_calls(8)

    webhook = await register(other_receiver.url)
    released = asyncio.Event()
    receiver.usual = hang_until(released)
    before = len(receiver.calls)
    await tell(database, *[CREATED] * 10)
    log = await settled(parts, webhook, count=10)
    in_progress = len(receiver.calls) - before
    released.set()

    assert [delivery.state for delivery in log] == [DeliveryState.DELIVERED] * 10
    assert in_progress <= 4


async def test_two_workers_share_the_work(database, parts, receiver, register, start_worker):
    webhook = await register(receiver.url)
    await tell(database, *[CREATED] * 50)
    start_worker(slots=3)
    start_worker(slots=3)

    await settled(parts, webhook, count=50)

    assert len(receiver.calls) == len({call.delivery_id for call in receiver.calls}) == 50


async def test_claims_at_the_same_moment_neither_overlap_nor_wait(database, parts, register):
    await register("http://127.0.0.1:1024/")
    await tell(database, *[CREATED] * 4)

    async with (
        database.driver() as first,
        database.driver() as second,
        first.transaction(),
        second.transaction(),
    ):
        taken = [
            {item.delivery_id for item in await claim_with(connection, limit=2)}
            for connection in (first, second)
        ]

    assert [len(ids) for ids in taken] == [2, 2]
    assert not taken[0] & taken[1]


async def test_a_delivery_of_a_worker_that_was_killed_is_taken_over(
    database, parts, receiver, register, start_worker
):
    webhook = await register(receiver.url)
    await tell(database, CREATED)
    [lost] = await claim(database, lease_seconds=60)
    assert await claim(database, lease_seconds=60) == []
    async with database.driver() as connection:
        await connection.execute("UPDATE registry.delivery SET leased_until = now()")

    start_worker()
    [delivery] = await settled(parts, webhook)

    assert delivery.state == DeliveryState.DELIVERED
    assert [call.delivery_id for call in receiver.calls] == [lost.delivery_id]


async def test_a_late_failure_does_not_undo_what_another_worker_did(database, parts, receiver, register):
    webhook = await register(receiver.url)
    await tell(database, CREATED)
    [slow] = await claim(database, lease_seconds=0)
    [fast] = await claim(database, lease_seconds=60)
    receiver.answers.extend([status(200), status(500)])

    await parts.deliveries.attempt(fast)
    await parts.deliveries.attempt(slow)

    [delivery] = await log_of(parts, webhook)
    assert delivery.state == DeliveryState.DELIVERED
    assert sorted(attempt.response_status for attempt in delivery.attempts) == [200, 500]


async def test_a_late_failure_does_not_end_the_lease_of_another_worker(database, parts, receiver, register):
    await register(receiver.url)
    await tell(database, CREATED)
    [slow] = await claim(database, lease_seconds=0)
    await claim(database, lease_seconds=60)
    receiver.answers.append(status(500))

    await parts.deliveries.attempt(slow)

    assert await claim(database, lease_seconds=60) == []


async def test_a_worker_that_stops_gives_back_what_it_was_doing(
    database, parts, receiver, other_receiver, register, start_worker
):
    webhook = await register(receiver.url)
    receiver.answers.append(hang_until(asyncio.Event()))
    first = start_worker()
    await tell(database, CREATED)
    await receiver.wait_for_calls(1)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    start_worker()
    [delivery] = await settled(parts, webhook)

    assert delivery.state == DeliveryState.DELIVERED
    assert [call.delivery_id for call in receiver.calls] == [delivery.delivery_id] * 2
    # The first one was broken off, and did not go on to its time limit.
    assert [attempt.response_status for attempt in delivery.attempts] == [200]


async def test_a_webhook_that_is_deleted_in_the_middle_is_forgotten(
    database, parts, receiver, other_receiver, register, start_worker
):
    webhook = await register(receiver.url)
    other = await register(other_receiver.url)
    released = asyncio.Event()
    receiver.answers.append(hang_until(released))
    start_worker()
    await tell(database, CREATED)
    await receiver.wait_for_calls(1)

    await parts.webhooks.delete(webhook.webhook_id, actor="ada")
    released.set()
    await tell(database, CREATED)

    assert len(await settled(parts, other, count=2)) == 2


async def test_what_waits_goes_to_the_new_url_and_not_while_disabled(
    database, parts, receiver, other_receiver, register, start_worker
):
    webhook = await register(receiver.url)
    await tell(database, CREATED)
    await parts.webhooks.update(
        webhook.webhook_id, WebhookDraft(url=other_receiver.url, status=WebhookStatus.DISABLED), actor="ada"
    )
    assert await claim(database, lease_seconds=60) == []

    start_worker()
    await parts.webhooks.update(webhook.webhook_id, WebhookDraft(status=WebhookStatus.ACTIVE), actor="ada")
    await settled(parts, webhook)

    assert (len(receiver.calls), len(other_receiver.calls)) == (0, 1)


async def test_both_secrets_sign_while_they_overlap(database, parts, receiver, register, start_worker):
    webhook = await register(receiver.url, secret=SECRET)
    start_worker()
    new = await parts.webhooks.rotate_secret(webhook.webhook_id, "", 1, actor="ada")
    await tell(database, CREATED)
    await settled(parts, webhook)
    newest = await parts.webhooks.rotate_secret(webhook.webhook_id, "another secret of mine", 0, actor="ada")
    await tell(database, CREATED)
    await settled(parts, webhook, count=2)

    during, after = receiver.calls
    assert (during.is_signed_with(new), during.is_signed_with(SECRET)) == (True, True)
    assert during.headers["X-MLflow-Signature"].count(" ") == 1
    assert [after.is_signed_with(secret) for secret in (newest, new, SECRET)] == [True, False, False]


async def test_without_a_secret_there_is_no_signature(database, parts, receiver, register, start_worker):
    webhook = await register(receiver.url)
    start_worker()
    await tell(database, CREATED)
    await settled(parts, webhook)

    assert "X-MLflow-Signature" not in receiver.calls[0].headers


async def test_a_body_that_is_too_large_keeps_the_names(database, parts, register):
    webhook = await register("http://127.0.0.1:1024/")
    huge = {"name": "fraud", "version": "7", "tags": {"notes": "é" * MAX_BODY_BYTES}}

    await tell(database, Notice("MODEL_VERSION", "CREATED", "fraud", huge))

    [delivery] = await log_of(parts, webhook)
    assert len(delivery.body_json) < 1000
    assert delivery.body_json.endswith('"data": {"name": "fraud", "version": "7", "truncated": true}}')


async def test_a_new_delivery_does_not_wait_for_the_next_poll(settings, database, receiver, register, parts):
    webhook = await register(receiver.url)
    tasks = Supervisor()
    running = WebhookParts(
        settings.model_copy(update={"webhook_poll_seconds": 3600.0}), database, parts.webhooks._clock
    )
    running.spawn(tasks)
    try:
        # The listener connects by itself; whatever came before that is found with its first wake-up.
        await tell(database, CREATED)
        await settled(parts, webhook)
        await tell(database, CREATED)
        await settled(parts, webhook, count=2)
    finally:
        await tasks.stop()
        await running.sender.stop()
    assert len(receiver.calls) == 2


async def claim(database, *, lease_seconds):
    async with database.driver() as connection:
        return await claim_with(connection, limit=10, lease_seconds=lease_seconds)


async def claim_with(connection, *, limit, lease_seconds=60):
    return await delivery_repository.claim(
        connection, limit=limit, limit_per_webhook=10, own_limits={}, lease_seconds=lease_seconds
    )

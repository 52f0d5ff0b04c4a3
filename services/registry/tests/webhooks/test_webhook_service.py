"""WebhookService over gRPC: what is stored, refused, tested, listed and forgotten; secrets are never told."""

from __future__ import annotations

import json
import logging

import grpc
import pytest
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound, PlatformError
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.registry.v1 import webhook_service_pb2 as pb
from runstream_proto.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub
from runstream_registry.jobs.expire_deliveries import DeliveryExpiry
from runstream_registry.notices import EXAMPLES
from runstream_registry.store import delivery_repository
from runstream_registry.webhook_wiring import WebhookParts
from runstream_registry.webhooks import deliveries, webhooks
from structlog.testing import capture_logs

from services.registry.tests.webhooks.support import CREATED, status, tell

SECRET = "a secret of enough length"
EVENT = pb.WebhookEvent(entity="MODEL_VERSION", action="CREATED")
URL = "http://127.0.0.1:1024/path?token=hidden"
ACTOR = [("runstream-actor", "ada")]


@pytest.fixture
async def client(settings, parts: WebhookParts):
    server = build_server(settings, [parts.registration()])
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield WebhookServiceStub(channel)
    finally:
        await server.stop()


async def refusal(call) -> PlatformError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


async def create(client, **fields) -> pb.Webhook:
    request = pb.CreateWebhookRequest(**{"name": "hook", "url": URL, "events": [EVENT], **fields})
    return (await client.CreateWebhook(request, metadata=ACTOR)).webhook


async def audit(database) -> list[dict]:
    async with database.driver() as connection:
        rows = await connection.fetch(
            "SELECT content FROM registry.audit_entry WHERE chain = 'webhooks' ORDER BY sequence"
        )
    return [json.loads(row["content"]) for row in rows]


async def test_a_webhook_from_registration_to_deletion(client):
    made = await create(client, description="d", models="fraud*", secret=SECRET)
    found = (await client.GetWebhook(pb.GetWebhookRequest(webhook_id=made.webhook_id))).webhook
    update = pb.UpdateWebhookRequest(
        webhook_id=made.webhook_id, name="new", status=pb.WEBHOOK_STATUS_DISABLED, models="", description=""
    )
    changed = (await client.UpdateWebhook(update, metadata=ACTOR)).webhook
    await client.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made.webhook_id), metadata=ACTOR)
    gone = await refusal(client.GetWebhook(pb.GetWebhookRequest(webhook_id=made.webhook_id)))

    assert found == made
    assert (made.status, made.has_secret, made.models) == (pb.WEBHOOK_STATUS_ACTIVE, True, "fraud*")
    assert (changed.name, changed.status, changed.models, changed.description) == (
        "new",
        pb.WEBHOOK_STATUS_DISABLED,
        "",
        "",
    )
    assert (changed.url, list(changed.events), changed.has_secret) == (URL, [EVENT], True)
    assert (type(gone), gone.reason) == (NotFound, "WEBHOOK_NOT_FOUND")


async def test_everything_that_is_wrong_is_named_at_once(client):
    request = pb.CreateWebhookRequest(
        name="-",
        url="gopher://x",
        events=[pb.WebhookEvent(entity="X")],
        description="d" * 1001,
        models="m" * 257,
        secret="s" * 1_001,
    )
    error = await refusal(client.CreateWebhook(request))

    assert isinstance(error, InvalidArgument)
    assert {item.field for item in error.violations} == {
        "name",
        "url",
        "events[0].entity",
        "description",
        "models",
        "secret",
    }


@pytest.mark.parametrize(
    ("method", "request_message", "field"),
    [
        ("GetWebhook", pb.GetWebhookRequest(), "webhook_id"),
        ("GetWebhook", pb.GetWebhookRequest(webhook_id="x"), "webhook_id"),
        ("ListWebhooks", pb.ListWebhooksRequest(page_size=1001), "page_size"),
        ("ListWebhooks", pb.ListWebhooksRequest(page_token="x"), "page_token"),
        ("RedeliverWebhook", pb.RedeliverWebhookRequest(delivery_id="x"), "delivery_id"),
    ],
)
async def test_requests_that_make_no_sense(client, method, request_message, field):
    error = await refusal(getattr(client, method)(request_message))

    assert isinstance(error, InvalidArgument)
    assert [item.field for item in error.violations] == [field]


async def test_a_private_address_is_refused_at_registration(settings, database, parts):
    careful = settings.model_copy(update={"webhook_allow_private_addresses": False})
    parts = WebhookParts(careful, database, parts.webhooks._clock)
    server = build_server(careful, [parts.registration()])
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        error = await refusal(create(WebhookServiceStub(channel)))
    await server.stop()
    await parts.sender.stop()

    assert isinstance(error, InvalidArgument)
    assert [(item.field, item.description) for item in error.violations] == [
        ("url", "127.0.0.1 is not a public address")
    ]


async def test_secrets_are_in_no_answer_no_audit_entry_and_no_log(client, database, parts, caplog):
    caplog.set_level(logging.DEBUG)
    made = await create(client, secret=SECRET)
    update = pb.UpdateWebhookRequest(webhook_id=made.webhook_id, secret="a second secret of mine")
    changed = (await client.UpdateWebhook(update, metadata=ACTOR)).webhook
    rotate = pb.RotateSecretRequest(webhook_id=made.webhook_id, overlap_hours=1)
    told = (await client.RotateSecret(rotate, metadata=ACTOR)).secret
    await tell(database, CREATED)
    async with database.driver() as connection:
        [claimed] = await delivery_repository.claim(
            connection, limit=1, limit_per_webhook=1, own_limits={}, lease_seconds=60
        )
    with capture_logs() as logs:
        await parts.deliveries.attempt(claimed)
    await client.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made.webhook_id), metadata=ACTOR)

    entries = await audit(database)
    assert [line["event"] for line in logs] == ["webhook_attempt_failed"]
    seen = f"{made}{changed}{entries}{caplog.text}{logs}{claimed.secrets}"
    for secret in (SECRET, "a second secret of mine", told, "hidden"):
        assert secret not in seen.replace(URL, "")
    assert [entry["action"] for entry in entries] == [
        "webhook.created",
        "webhook.updated",
        "webhook.secret_rotated",
        "webhook.deleted",
    ]
    assert {entry["actor"] for entry in entries} == {"ada"}
    assert [entry["after"] and entry["after"].get("secret_changed") for entry in entries] == [
        None,
        True,
        True,
        None,
    ]


async def test_an_update_that_changes_nothing_is_not_audited(client, database):
    made = await create(client)
    update = pb.UpdateWebhookRequest(webhook_id=made.webhook_id, name="hook", events=[EVENT])

    assert (await client.UpdateWebhook(update)).webhook == made
    assert len(await audit(database)) == 1


async def test_a_webhook_without_a_secret_gets_one_by_rotation(client, receiver):
    made = await create(client, url=receiver.url)
    rotate = pb.RotateSecretRequest(webhook_id=made.webhook_id, overlap_hours=24)
    told = (await client.RotateSecret(rotate)).secret
    await client.TestWebhook(pb.TestWebhookRequest(webhook_id=made.webhook_id))

    assert receiver.calls[0].is_signed_with(told)
    assert " " not in receiver.calls[0].headers["X-MLflow-Signature"]
    wrong = pb.RotateSecretRequest(webhook_id=made.webhook_id, overlap_hours=169, secret="x" * 1_001)
    error = await refusal(client.RotateSecret(wrong))
    assert {item.field for item in error.violations} == {"overlap_hours", "secret"}


async def test_a_test_tells_what_the_receiver_said(client, receiver):
    made = await create(client, url=receiver.url, secret=SECRET)
    receiver.answers.extend([status(200), status(500)])
    test = pb.TestWebhookRequest(webhook_id=made.webhook_id)
    alias = pb.WebhookEvent(entity="PROMPT_ALIAS", action="CREATED")

    good = await client.TestWebhook(test)
    bad = await client.TestWebhook(pb.TestWebhookRequest(webhook_id=made.webhook_id, event=alias))

    assert (good.success, good.response_status, good.response_body) == (True, 200, "no")
    assert (bad.success, bad.response_status) == (False, 500)
    assert [call.json["entity"] for call in receiver.calls] == ["model_version", "prompt_alias"]
    assert receiver.calls[1].json["data"]["alias"] == "example_alias"
    assert all(call.is_signed_with(SECRET) for call in receiver.calls)
    assert not (await client.ListDeliveries(pb.ListDeliveriesRequest(webhook_id=made.webhook_id))).deliveries


async def test_every_event_can_be_tested(client, receiver):
    made = await create(client, url=receiver.url)
    events = [(entity, action) for entity, actions in EXAMPLES.items() for action in actions]
    for entity, action in events:
        event = pb.WebhookEvent(entity=entity, action=action)
        answer = await client.TestWebhook(pb.TestWebhookRequest(webhook_id=made.webhook_id, event=event))
        assert answer.success, (entity, action)
    assert [(call.json["entity"].upper(), call.json["action"].upper()) for call in receiver.calls] == events


async def test_webhooks_are_listed_newest_first_in_pages(client):
    made = [(await create(client, name=f"hook-{number}")).webhook_id for number in range(5)]

    listed, token = [], ""
    for _ in range(3):
        answer = await client.ListWebhooks(pb.ListWebhooksRequest(page_size=2, page_token=token))
        listed += answer.webhooks
        token = answer.next_page_token

    times = [webhook.creation_time_ms for webhook in listed]
    assert token == ""
    assert sorted(webhook.webhook_id for webhook in listed) == sorted(made)
    assert times == sorted(times, reverse=True)


async def test_there_is_a_most_of_webhooks(client, monkeypatch):
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 2)
    await create(client)
    await create(client)

    error = await refusal(create(client))

    assert (type(error), error.reason) == (FailedPrecondition, "TOO_MANY_WEBHOOKS")


async def test_the_log_is_listed_in_pages_by_state_and_by_size(client, database, monkeypatch):
    made = await create(client)
    for _ in range(5):
        await tell(database, CREATED)

    async def pages(**fields):
        sizes, seen, token = [], [], ""
        while True:
            request = pb.ListDeliveriesRequest(webhook_id=made.webhook_id, page_token=token, **fields)
            answer = await client.ListDeliveries(request)
            sizes.append(len(answer.deliveries))
            seen += [delivery.delivery_id for delivery in answer.deliveries]
            token = answer.next_page_token
            if not token:
                assert len(seen) == len(set(seen))
                return sizes

    assert await pages(page_size=2) == [2, 2, 1]
    assert await pages(state=pb.DELIVERY_STATE_PENDING) == [5]
    assert await pages(state=pb.DELIVERY_STATE_FAILED) == [0]
    monkeypatch.setattr(deliveries, "MAX_PAGE_BYTES", 1)
    assert await pages(page_size=4) == [1, 1, 1, 1, 1]


async def test_a_token_of_another_list_is_refused(client, database):
    made = await create(client)
    await tell(database, CREATED, CREATED)
    request = pb.ListDeliveriesRequest(webhook_id=made.webhook_id, page_size=1)
    token = (await client.ListDeliveries(request)).next_page_token

    for other in (
        client.ListWebhooks(pb.ListWebhooksRequest(page_token=token)),
        client.ListDeliveries(
            pb.ListDeliveriesRequest(
                webhook_id=made.webhook_id, state=pb.DELIVERY_STATE_FAILED, page_token=token
            )
        ),
    ):
        error = await refusal(other)
        assert [item.field for item in error.violations] == ["page_token"]


async def test_the_log_of_what_is_not_there(client):
    missing = "00000000-0000-0000-0000-000000000000"

    log = await refusal(client.ListDeliveries(pb.ListDeliveriesRequest(webhook_id=missing)))
    again = await refusal(client.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=missing)))

    assert (log.reason, again.reason) == ("WEBHOOK_NOT_FOUND", "DELIVERY_NOT_FOUND")


async def test_a_disabled_webhook_is_not_delivered_to_again(client, database):
    made = await create(client)
    await tell(database, CREATED)
    log = await client.ListDeliveries(pb.ListDeliveriesRequest(webhook_id=made.webhook_id))
    update = pb.UpdateWebhookRequest(webhook_id=made.webhook_id, status=pb.WEBHOOK_STATUS_DISABLED)
    await client.UpdateWebhook(update)

    again = pb.RedeliverWebhookRequest(delivery_id=log.deliveries[0].delivery_id)

    assert (await refusal(client.RedeliverWebhook(again))).reason == "WEBHOOK_DISABLED"


async def test_old_deliveries_and_secrets_are_forgotten_but_not_what_is_about_to_be_sent(client, database):
    made = await create(client, secret=SECRET)
    await client.RotateSecret(pb.RotateSecretRequest(webhook_id=made.webhook_id, overlap_hours=1))
    # From 2023, see `tell`.
    await tell(database, *[CREATED] * 5)
    async with database.driver() as connection:
        await connection.execute("UPDATE registry.delivery SET state = 2, next_attempt_at = NULL")
        await connection.execute("UPDATE registry.webhook SET previous_secret_ends = now()")
    await tell(database, CREATED)

    forgotten = await DeliveryExpiry(database, keep_days=30).expire_all(at_once=2)

    left = await client.ListDeliveries(pb.ListDeliveriesRequest(webhook_id=made.webhook_id))
    async with database.driver() as connection:
        secret = await connection.fetchval("SELECT previous_secret FROM registry.webhook")
    assert (forgotten, len(left.deliveries), secret) == (5, 1, "")

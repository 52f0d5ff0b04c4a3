"""The service over gRPC: what it refuses and how, and that messages carry everything."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from runstream_common.errors import PlatformError
from runstream_common.rpc.actor import ACTOR_KEY
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub
from runstream_registry.promotion import policies
from runstream_registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAMPION = {"alias": "champion"}
POLICY = {
    "models": "*",
    "targets": "alias/*",
    "description": "what a champion must be",
    "request_hours": 24,
    "roles": [{"name": "lead", "members": ["bob"]}],
    "rules": [
        {"metric": {"condition": "accuracy >= 0.9"}},
        {"approvals": {"count": 1, "roles": ["lead"]}},
        {"freeze": {"weekly_start": "Fri 16:00", "weekly_end": "Mon 08:00", "time_zone": "Europe/Berlin"}},
    ],
}


class Client:
    """Calls by name with fields, as some actor."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = PromotionServiceStub(channel)

    async def __call__(self, method: str, actor: str = "ada", **fields):
        request = ParseDict(fields, getattr(pb, f"{method}Request")())
        return await getattr(self._stub, method)(request, metadata=((ACTOR_KEY, actor),))

    async def refused(self, method: str, actor: str = "ada", **fields) -> PlatformError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self(method, actor, **fields)
        return from_rpc_error(raised.value)


@pytest.fixture
async def client(registry, database_url) -> AsyncIterator[Client]:
    settings = RegistrySettings(
        database_url=database_url, bus_url=database_url, grpc_host="127.0.0.1", grpc_port=0
    )
    server = build_server(settings, [registry.parts.registration()])
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Client(channel)
    finally:
        await server.stop()


async def test_from_a_policy_over_a_request_to_the_promotion_and_its_trail(registry, client):
    await registry.model_with(0.95)
    put = await client("PutPolicy", "root", name="champions", document=POLICY, reason="new year")
    assert (put.policy.revision, put.policy.document) == (1, ParseDict(POLICY, pb.PolicyDocument()))

    explained = await client("Promote", name="fraud", version=1, target=CHAMPION, dry_run=True)
    assert [(rule.kind, rule.passed) for rule in explained.rules] == [
        ("metric", True),
        ("approvals", False),
        ("freeze", True),
    ]
    assert not explained.allowed
    asked = (await client("RequestPromotion", name="fraud", version=1, target=CHAMPION, reason="go")).request
    assert (asked.actor, asked.missing_approvals) == ("ada", 1)
    decided = await client("DecideRequest", "bob", request_id=asked.request_id, approve=True, comment="yes")
    assert decided.request.state == pb.REQUEST_STATE_EXECUTED
    assert decided.promotion.metrics == {"accuracy": 0.95}

    (promotion,) = (await client("ListPromotions", name="fraud")).promotions
    assert promotion == decided.promotion
    assert [(rule.policy, rule.passed) for rule in promotion.rules] == [("champions", True)] * 3
    entries = (await client("ListAuditEntries", name="fraud")).entries
    assert [entry.action for entry in entries] == ["alias.promoted", "request.decided", "request.created"]
    assert json.loads(entries[0].after_json)["promotion_id"] == promotion.promotion_id
    report = await client("VerifyAudit")
    assert (report.chain_count, report.entry_count, list(report.problems)) == (2, 4, [])


async def test_a_refusal_has_its_reason_and_rules_in_the_status(registry, client):
    await registry.model_with(0.5)
    await client("PutPolicy", name="champions", document={**POLICY, "rules": POLICY["rules"][:1]})

    error = await client.refused("Promote", name="fraud", version=1, target=CHAMPION)

    assert (type(error).__name__, error.reason) == ("FailedPrecondition", "PROMOTION_REFUSED")
    assert "accuracy is 0.5" in error.message
    assert error.metadata["failed_1"] == "champions/metric: accuracy >= 0.9"


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("Promote", {"version": 1, "target": CHAMPION}, "name"),
        ("Promote", {"name": "fraud", "target": CHAMPION}, "version"),
        ("Promote", {"name": "fraud", "version": 1}, "target"),
        ("Promote", {"name": "fraud", "version": 1, "target": {"alias": "v1"}}, "target.alias"),
        ("Promote", {"name": "fraud", "version": 1, "target": {"alias": "Latest"}}, "target.alias"),
        ("Promote", {"name": "fraud", "version": 1, "target": {"stage": "Prod"}}, "target.stage"),
        ("Promote", {"name": "fraud", "version": 1, "target": CHAMPION, "reason": "x" * 8001}, "reason"),
        (
            "Promote",
            {"name": "fraud", "version": 1, "target": CHAMPION, "expected_current": -1},
            "expected_current",
        ),
        (
            "Promote",
            {"name": "fraud", "version": 1, "target": CHAMPION, "archive_existing": True},
            "archive_existing",
        ),
        ("Promote", {"name": "fraud", "version": 1, "target": CHAMPION, "request_id": "x"}, "request_id"),
        ("Rollback", {"name": "fraud", "target": {"stage": "archived"}}, "target.stage"),
        ("ListPromotions", {"name": "fraud", "page_size": 1001}, "page_size"),
        ("ListPromotions", {"name": "fraud", "page_token": "x"}, "page_token"),
        ("PutPolicy", {"name": "a b", "document": POLICY}, "name"),
        ("PutPolicy", {"name": "a"}, "document"),
        ("PutPolicy", {"name": "a", "document": {"models": "*", "targets": "*"}}, "document.rules"),
        ("ListPolicies", {"target": CHAMPION}, "model"),
        ("ListPolicies", {"model": "a\0b"}, "model"),
        ("DecideRequest", {"request_id": "1"}, "request_id"),
        ("DecideRequest", {"request_id": "1" * 32, "role": "a role"}, "role"),
        ("ListRequests", {"state": 9}, "state"),
        ("ListAuditEntries", {"page_size": -1}, "page_size"),
    ],
)
async def test_wrong_fields_are_named(client, method, fields, field):
    error = await client.refused(method, **fields)

    assert type(error).__name__ == "InvalidArgument"
    assert [item.field for item in error.violations] == [field]


async def test_stages_are_written_in_any_case(registry, client):
    await registry.model_with(0.9)

    answer = await client("Promote", name="fraud", version=1, target={"stage": "production"})

    assert answer.promotion.target.stage == "Production"


async def test_policies_have_revisions(client):
    document = {**POLICY, "description": "first"}
    await client("PutPolicy", name="p", document=document, expected_revision=0)
    again = await client("PutPolicy", name="p", document=document)
    assert again.policy.revision == 1
    lost = await client.refused("PutPolicy", name="p", document=POLICY, expected_revision=0)
    assert lost.reason == "POLICY_CHANGED"
    await client("PutPolicy", name="p", document=POLICY, expected_revision=1)
    listed = (await client("ListPolicies", model="any", target=CHAMPION)).policies
    assert [(policy.name, policy.revision) for policy in listed] == [("p", 2)]
    assert not (await client("ListPolicies", model="any", target={"stage": "Staging"})).policies

    await client("DeletePolicy", name="p", reason="too strict")

    assert not (await client("ListPolicies")).policies
    newest = (await client("GetPolicy", name="p")).policy
    assert (newest.revision, newest.deleted) == (3, True)
    assert (await client("GetPolicy", name="p", revision=1)).policy.document.description == "first"
    assert (await client.refused("DeletePolicy", name="p")).reason == "POLICY_NOT_FOUND"
    assert (await client("PutPolicy", name="p", document=POLICY, expected_revision=0)).policy.revision == 4
    actions = [entry.action for entry in (await client("ListAuditEntries", chain="policies")).entries]
    assert actions == ["policy.stored", "policy.deleted", "policy.stored", "policy.stored"]


async def test_so_many_policies_are_in_force_and_no_more(client, monkeypatch):
    monkeypatch.setattr(policies, "MAX_POLICIES", 2)
    for name in ("a", "b"):
        await client("PutPolicy", name=name, document=POLICY)
    refused = await client.refused("PutPolicy", name="c", document=POLICY)
    assert (refused.reason, refused.metadata["limit"]) == ("TOO_MANY_POLICIES", "2")

    changed = await client("PutPolicy", name="b", document={**POLICY, "description": "another"})
    await client("DeletePolicy", name="a")
    await client("PutPolicy", name="c", document=POLICY)

    assert changed.policy.revision == 2
    found = (await client("ListPolicies")).policies
    assert [(policy.name, policy.revision) for policy in found] == [("b", 2), ("c", 1)]


async def test_lists_page_through_everything(registry, client):
    await registry.model_with(*[0.9] * 5)
    for version in range(1, 6):
        await client("Promote", name="fraud", version=version, target=CHAMPION)

    async def walk(method, items, **fields):
        found, token = [], ""
        while True:
            page = await client(method, page_size=2, page_token=token, **fields)
            found += getattr(page, items)
            token = page.next_page_token
            if not token:
                return found

    promotions = await walk("ListPromotions", "promotions", name="fraud", target=CHAMPION)
    entries = await walk("ListAuditEntries", "entries")

    assert [promotion.sequence for promotion in promotions] == [5, 4, 3, 2, 1]
    assert [entry.sequence for entry in entries] == [5, 4, 3, 2, 1]
    token = (await client("ListPromotions", name="fraud", page_size=1)).next_page_token
    assert (await client.refused("ListPromotions", name="other", page_token=token)).violations


async def test_metrics_that_are_no_numbers_survive(registry, client):
    model_id = await registry.add_model()
    await registry.add_version(model_id, 1, {"loss": float("nan"), "gain": float("inf")})

    await client("Promote", name="fraud", version=1, target=CHAMPION)

    (promotion,) = (await client("ListPromotions", name="fraud")).promotions
    assert str(promotion.metrics["loss"]) == "nan"
    assert promotion.metrics["gain"] == float("inf")
    assert (await registry.events())[0]["metrics"] == {"gain": "Infinity", "loss": "NaN"}


async def test_policies_that_are_put_at_once_get_revisions_of_their_own(client):
    documents = [{**POLICY, "description": f"number {index}"} for index in range(4)]

    await asyncio.gather(*(client("PutPolicy", name="p", document=document) for document in documents))

    stored = [(await client("GetPolicy", name="p", revision=number)).policy for number in (1, 2, 3, 4)]
    assert {policy.document.description for policy in stored} == {item["description"] for item in documents}

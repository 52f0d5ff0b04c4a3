"""Requests for approval: asked for, decided, carried out, expired."""

from __future__ import annotations

import asyncio

import pytest
from runstream_registry.promotion_entities import Decision, PromotionOrder, RequestState
from runstream_registry.promotion_errors import (
    AlreadyDecided,
    AlreadyThere,
    CurrentVersionChanged,
    NoApprovalNeeded,
    NotAnApprover,
    PromotionRefused,
    RequestExists,
    RequestNotOpen,
)
from runstream_registry.store import request_repository

from services.registry.tests.promotion.support import CHAMPION, STAGING

GATE = {"metric": {"condition": "accuracy >= 0.9"}}
ROLES = [{"name": "lead", "members": ["bob", "carol", "ada"]}, {"name": "legal", "members": ["dora"]}]
TWO_LEADS = {"approvals": {"count": 2, "roles": ["lead"]}}


@pytest.fixture
async def gated(registry):
    """Two versions; the champion needs two leads and a good accuracy."""
    await registry.model_with(0.91, 0.95)
    await registry.put_policy(GATE, TWO_LEADS, roles=ROLES, request_hours=24)
    return registry


async def ask(registry, version=2, **fields):
    order = {"name": "fraud", "target": CHAMPION, "actor": "ada", "reason": "better", **fields}
    return await registry.parts.requests.create(PromotionOrder(version=version, **order))


async def decide(registry, request, actor, approve=True, role="", comment=""):
    return await registry.parts.requests.decide(
        request.request_id, actor=actor, approve=approve, role=role, comment=comment
    )


async def test_the_approval_that_completes_a_request_promotes(gated):
    request = await ask(gated)
    assert (request.state, request.missing_approvals) == (RequestState.PENDING, 2)

    waiting, nothing = await decide(gated, request, "bob")
    done, promotion = await decide(gated, request, "carol", comment="looks right")

    assert (waiting.state, waiting.missing_approvals, nothing) == (RequestState.PENDING, 1, None)
    assert (done.state, done.promotion_sequence) == (RequestState.EXECUTED, 1)
    assert (promotion.actor, promotion.reason, promotion.request_id) == ("ada", "better", request.request_id)
    assert await gated.held() == 2
    assert [event["version"] for event in await gated.events()] == [2]
    assert [
        (event["action"], event["details"]["state"]) for event in await gated.events("model-changed")
    ] == [
        ("request.created", "PENDING"),
        ("request.decided", "PENDING"),
        ("request.decided", "APPROVED"),
    ]
    assert await gated.value("SELECT count(*) FROM registry.audit_entry WHERE chain LIKE 'model/%'") == 4


async def test_approvals_cannot_be_gone_around(gated):
    request = await ask(gated)

    with pytest.raises(PromotionRefused, match="0 of 2 approvals"):
        await gated.promote(2)
    with pytest.raises(PromotionRefused, match="0 of 2 approvals"):
        await gated.promote(2, request_id=request.request_id)
    await decide(gated, request, "bob")
    with pytest.raises(PromotionRefused, match="1 of 2 approvals"):
        await gated.promote(2, request_id=request.request_id)

    assert await gated.held() is None


async def test_who_may_not_approve_is_told_why(gated):
    request = await ask(gated)

    with pytest.raises(NotAnApprover, match="ada has asked for this promotion"):
        await decide(gated, request, "ada")
    with pytest.raises(NotAnApprover, match="mallory has none of the roles lead"):
        await decide(gated, request, "mallory")
    with pytest.raises(NotAnApprover, match="dora has none of the roles lead"):
        await decide(gated, request, "dora")
    with pytest.raises(NotAnApprover, match="the role 'legal'"):
        await decide(gated, request, "bob", role="legal")
    await decide(gated, request, "bob")
    with pytest.raises(AlreadyDecided):
        await decide(gated, request, "bob")

    assert len((await gated.parts.requests.get(request.request_id)).decisions) == 1


async def test_a_rejection_is_final(gated):
    request = await ask(gated)
    await decide(gated, request, "bob")

    rejected, _ = await decide(gated, request, "carol", approve=False, comment="too early")

    assert rejected.state is RequestState.REJECTED
    with pytest.raises(RequestNotOpen, match="rejected"):
        await decide(gated, request, "carol")
    with pytest.raises(RequestNotOpen, match="rejected"):
        await gated.promote(2, request_id=request.request_id)


async def test_who_asked_may_withdraw(gated):
    request = await ask(gated)

    withdrawn, _ = await decide(gated, request, "ada", approve=False)

    assert withdrawn.state is RequestState.REJECTED


async def test_other_rules_must_be_met_when_asking(gated):
    model_id = await gated.value("SELECT model_id FROM registry.model")
    await gated.add_version(model_id, 3, {"accuracy": 0.5})

    with pytest.raises(PromotionRefused, match=r"accuracy is 0\.5") as refusal:
        await ask(gated, 3)
    assert "approvals" not in refusal.value.message
    await gated.put_policy(GATE, name="quality")
    with pytest.raises(NoApprovalNeeded):
        await ask(gated, 2)
    await gated.promote(2)
    await gated.put_policy(TWO_LEADS, roles=ROLES)
    with pytest.raises(AlreadyThere):
        await ask(gated, 2)


async def test_the_same_cannot_be_asked_twice(gated):
    request = await ask(gated)

    with pytest.raises(RequestExists) as refusal:
        await ask(gated, actor="bob")

    assert refusal.value.metadata["request_id"] == request.request_id
    assert (await ask(gated, target=STAGING)).target == STAGING


async def test_rules_are_judged_again_when_it_is_carried_out(gated):
    request = await ask(gated)
    await decide(gated, request, "bob")
    await gated.put_policy(
        {"metric": {"condition": "accuracy >= 0.99"}}, TWO_LEADS, roles=ROLES, name="quality"
    )

    approved, promotion = await decide(gated, request, "carol")

    assert promotion is None
    assert approved.state is RequestState.APPROVED
    assert "accuracy is 0.95" in approved.last_error
    assert await gated.held() is None
    await gated.put_policy(GATE, TWO_LEADS, roles=ROLES, name="quality")
    result = await gated.promote(2, request_id=request.request_id, actor="bob")
    assert result.promotion.actor == "bob"
    executed = await gated.parts.requests.get(request.request_id)
    assert (executed.state, executed.last_error) == (RequestState.EXECUTED, "")


async def test_an_approval_by_somebody_who_lost_the_role_does_not_count(gated):
    request = await ask(gated)
    await decide(gated, request, "bob")
    roles = [{"name": "lead", "members": ["carol", "erin"]}]
    await gated.put_policy(GATE, TWO_LEADS, roles=roles, name="quality")

    waiting, promotion = await decide(gated, request, "carol")

    assert (waiting.state, waiting.missing_approvals, promotion) == (RequestState.PENDING, 1, None)


async def test_what_the_request_expects_of_the_target_holds_when_it_is_carried_out(gated):
    request = await ask(gated, expected_current=0)
    other = await ask(gated, 1)
    for actor in ("bob", "carol"):
        await decide(gated, other, actor)
    await decide(gated, request, "bob")

    failed, _ = await decide(gated, request, "carol")

    assert failed.state is RequestState.APPROVED
    assert "holds version 1, not no version" in failed.last_error
    with pytest.raises(CurrentVersionChanged):
        await gated.promote(2, request_id=request.request_id)


async def test_a_request_is_for_one_promotion(gated):
    request = await ask(gated)

    with pytest.raises(Exception, match="is a request for fraud version 2 to alias 'champion'"):
        await gated.promote(1, request_id=request.request_id)


async def test_requests_expire(gated):
    request = await ask(gated)
    gated.clock.advance(24 * 3600 - 1)
    assert await gated.parts.requests.expire(10) == 0
    gated.clock.advance(1)

    with pytest.raises(RequestNotOpen, match="expired"):
        await decide(gated, request, "bob")
    assert await gated.parts.requests.expire(10) == 1
    assert await gated.parts.requests.expire(10) == 0

    assert (await gated.parts.requests.get(request.request_id)).state is RequestState.EXPIRED
    assert [event["action"] for event in await gated.events("model-changed")][-1] == "request.expired"
    assert (await ask(gated)).state is RequestState.PENDING


async def test_a_model_that_is_deleted_in_the_meantime_stops_no_job(gated, monkeypatch):
    await ask(gated)
    gated.clock.advance(24 * 3600)
    find = request_repository.select_expired

    async def found_then_deleted(*args):
        request_ids = await find(*args)
        await gated.rows("UPDATE registry.model SET deleted_time_ms = 5")
        return request_ids

    monkeypatch.setattr(request_repository, "select_expired", found_then_deleted)

    assert await gated.parts.requests.expire(10) == 1
    assert [event["action"] for event in await gated.events("model-changed")] == ["request.created"]


async def test_a_model_that_is_renamed_in_the_meantime_keeps_its_request(gated, monkeypatch):
    request = await ask(gated)
    find = request_repository.select_one

    async def found_then_renamed(*args):
        monkeypatch.undo()
        found = await find(*args)
        await gated.rows("UPDATE registry.model SET name = 'fraud-2'")
        return found

    monkeypatch.setattr(request_repository, "select_one", found_then_renamed)
    decided, _ = await decide(gated, request, "bob")

    assert (decided.name, len(decided.decisions)) == ("fraud-2", 1)


async def test_what_a_service_that_ended_left_approved_is_carried_out(gated):
    request = await ask(gated)
    await decide(gated, request, "bob")
    # As the database is when the service ends right after the last approval's commit.
    last = Decision("carol", "", True, "", gated.clock.now_ms())
    await gated.parts.requests._decide(request.request_id, last)
    assert await gated.parts.requests.carry_out_left_behind(10) == 0
    gated.clock.advance(61)

    assert await gated.parts.requests.carry_out_left_behind(10) == 1

    assert await gated.held() == 2
    assert await gated.parts.requests.carry_out_left_behind(10) == 0


async def test_two_last_approvals_at_once_promote_once(gated):
    await gated.put_policy({"approvals": {"count": 1, "roles": ["lead"]}}, roles=ROLES, name="quality")
    request = await ask(gated)

    outcomes = await asyncio.gather(
        *(decide(gated, request, actor) for actor in ("bob", "carol")), return_exceptions=True
    )

    assert len(await gated.events()) == 1
    assert [type(item) for item in outcomes if isinstance(item, BaseException)] == [RequestNotOpen]


async def test_a_rollback_counts_the_approvals_that_the_version_had(gated):
    for version in (1, 2):
        request = await ask(gated, version)
        for actor in ("bob", "carol"):
            await decide(gated, request, actor)

    result = await gated.promote(None, actor="ada")

    assert result.promotion.version == 1
    assert any("2 of 2 approvals (bob, carol)" in rule.detail for rule in result.rules)


async def test_webhooks_hear_of_requests(gated):
    await gated.rows(
        """INSERT INTO registry.webhook (webhook_id, name, url, events, status, creation_time_ms, last_updated_time_ms)
        VALUES (gen_random_uuid(), 'w', 'https://x', $1, 1, 1, 1)""",
        [f"PROMOTION_REQUEST.{action}" for action in ("CREATED", "APPROVED", "REJECTED", "EXPIRED")],
    )
    request = await ask(gated)
    for actor in ("bob", "carol"):
        await decide(gated, request, actor)
    rejected = await ask(gated, 1)
    await decide(gated, rejected, "bob", approve=False)
    await ask(gated, 1)
    gated.clock.advance(24 * 3600)
    await gated.parts.requests.expire(10)

    rows = await gated.rows("SELECT action FROM registry.delivery ORDER BY creation_time_ms, action")

    assert sorted(row["action"] for row in rows) == [
        "APPROVED",
        "CREATED",
        "CREATED",
        "CREATED",
        "EXPIRED",
        "REJECTED",
    ]


async def test_requests_are_listed_newest_first(gated):
    first = await ask(gated, 1)
    gated.clock.advance(1)
    second = await ask(gated, 2)
    await decide(gated, first, "bob", approve=False)
    page = gated.parts.requests.page

    assert [item.request_id for item in await page("", None, before=None, limit=5)] == [
        second.request_id,
        first.request_id,
    ]
    place = (second.creation_time_ms, second.request_id)
    assert [item.request_id for item in await page("fraud", None, before=place, limit=5)] == [
        first.request_id
    ]
    waiting = await page("fraud", RequestState.PENDING, before=None, limit=5)
    assert [(item.request_id, item.missing_approvals) for item in waiting] == [(second.request_id, 2)]

"""Promotions: what they change, what they tell, and that it is exactly once."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.errors import FailedPrecondition, Unavailable
from runstream_registry.errors import ModelNotFound, VersionNotFound
from runstream_registry.promotion_errors import (
    CurrentVersionChanged,
    NoPreviousVersion,
    PromotionRefused,
    VersionNotReady,
)
from runstream_registry.store import promotion_repository

from services.registry.tests.promotion.support import CHAMPION, PRODUCTION, STAGING

GATE = {"metric": {"condition": "accuracy >= 0.9"}}
RELATIVE = {"metric": {"condition": "accuracy >= current + 0.01"}}


async def test_a_promotion_moves_the_alias_and_tells_of_it_once(registry):
    await registry.model_with(0.91, 0.95)
    await registry.promote(1)

    result = await registry.promote(2, reason="better on every slice")

    assert await registry.held() == 2
    assert (result.promotion.sequence, result.previous_version, result.allowed) == (2, 1, True)
    events = await registry.events()
    assert [event["sequence"] for event in events] == [1, 2]
    event = events[1]
    hashes = await registry.rows(
        "SELECT encode(hash, 'hex') AS hash FROM registry.audit_entry ORDER BY sequence"
    )
    assert event["audit_hash"] == hashes[1]["hash"]
    version_id = await registry.value("SELECT version_id FROM registry.version WHERE version = 2")
    assert {key: event[key] for key in event if key != "audit_hash"} == {
        "event_id": result.promotion.promotion_id,
        "model": "fraud",
        "sequence": 2,
        "version": 2,
        "previous_version": 1,
        "target_kind": "alias",
        "target": "champion",
        "rollback": False,
        "artifact_uri": f"runstream://model-versions/{version_id.hex}",
        "artifact_digest": "d1",
        "version_id": version_id.hex,
        "run_id": result.promotion.run_id,
        "git_commit": "abc123",
        "metrics": {"accuracy": 0.95},
        "actor": "ada",
        "reason": "better on every slice",
        "occurred_time_ms": registry.clock.now_ms(),
        "prompt": False,
    }
    assert len(registry.wakes) == 2


async def test_the_event_is_keyed_by_the_model_and_identified_by_the_promotion(registry):
    await registry.model_with(0.91)
    result = await registry.promote(1)

    headers = await registry.value("SELECT headers::text FROM registry.outbox")

    assert f'"{result.promotion.promotion_id}"' in headers
    assert '"key": "fraud"' in headers
    assert '"application/json"' in headers


async def test_a_version_that_is_there_changes_nothing(registry):
    await registry.model_with(0.91)
    await registry.promote(1)

    await registry.put_policy(GATE, {"tag": {"key": "reviewed"}})
    registry.runs.away = True

    again = await registry.promote(1)

    assert again.promotion is None
    assert again.allowed
    assert len(await registry.events()) == 1
    assert await registry.value("SELECT count(*) FROM registry.audit_entry WHERE chain LIKE 'model/%'") == 1
    assert await registry.value("SELECT promotion_sequence FROM registry.model") == 1


async def test_a_refusal_names_every_failed_rule_and_changes_nothing(registry):
    await registry.model_with(0.85)
    await registry.put_policy(GATE, {"signature": {}}, {"tag": {"key": "reviewed"}})

    with pytest.raises(PromotionRefused) as refusal:
        await registry.promote(1)

    error = refusal.value
    assert error.reason == "PROMOTION_REFUSED"
    for words in ("accuracy is 0.85", "has no signature", "has no tag 'reviewed'"):
        assert words in error.message
    assert error.metadata["failed_count"] == "3"
    assert error.metadata["failed_1"] == "quality/metric: accuracy >= 0.9"
    assert await registry.held() is None
    assert await registry.events() == []
    assert await registry.value("SELECT count(*) FROM registry.promotion") == 0


async def test_all_policies_that_match_must_be_met(registry):
    await registry.model_with(0.95)
    await registry.put_policy(GATE, name="all")
    await registry.put_policy({"tag": {"key": "reviewed"}}, name="champions", targets="alias/champ*")
    await registry.put_policy({"tag": {"key": "other"}}, name="elsewhere", models="churn-*")
    await registry.put_policy({"tag": {"key": "other"}}, name="stages", targets="stage/*")

    with pytest.raises(PromotionRefused, match="reviewed") as refusal:
        await registry.promote(1)

    assert refusal.value.metadata["failed_count"] == "1"
    assert refusal.value.metadata["rule_count"] == "2"


@pytest.mark.parametrize("accuracies", [(0.95, 0.97), (0.95, 0.955), (0.95, 0.96), (0.95, float("nan"))])
async def test_a_dry_run_says_what_then_happens_and_changes_nothing(registry, accuracies):
    await registry.model_with(*accuracies)
    await registry.put_policy(GATE, RELATIVE)
    await registry.promote(1)

    explained = await registry.promote(2, dry_run=True)

    assert explained.promotion is None
    assert await registry.held() == 1
    assert len(await registry.events()) == 1
    if explained.allowed:
        assert (await registry.promote(2)).rules == explained.rules
    else:
        with pytest.raises(PromotionRefused) as refusal:
            await registry.promote(2)
        assert all(rule.passed or rule.detail in refusal.value.message for rule in explained.rules)


async def test_a_gain_of_exactly_the_bound_is_enough(registry):
    await registry.model_with(0.93, 0.94)
    await registry.put_policy(RELATIVE)
    await registry.promote(1)

    assert (await registry.promote(2)).promotion is not None


async def test_the_target_must_hold_what_the_caller_expects(registry):
    await registry.model_with(0.9, 0.9, 0.9)
    await registry.promote(1, expected_current=0)

    with pytest.raises(CurrentVersionChanged, match="holds version 1, not no version") as lost:
        await registry.promote(2, expected_current=0)

    assert lost.value.reason == "CURRENT_VERSION_CHANGED"
    assert lost.value.metadata["current_version"] == "1"
    assert (await registry.promote(2, expected_current=1)).promotion.sequence == 2


async def test_fifty_clients_race_and_each_round_has_one_winner(registry):
    """One winner a round, and a sequence without gaps, with 50 clients at one target."""
    model_id = await registry.model_with(*[0.9] * 51)
    await registry.put_policy(GATE)

    for current in range(3):
        held = await registry.held() or 0
        others = [version for version in range(1, 52) if version != held][:50]
        outcomes = await asyncio.gather(
            *(registry.promote(version, expected_current=held) for version in others), return_exceptions=True
        )
        won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(won) == 1
        assert {type(error) for error in lost} == {CurrentVersionChanged}
        assert won[0].promotion.sequence == current + 1

    assert [event["sequence"] for event in await registry.events()] == [1, 2, 3]
    assert (
        await registry.value("SELECT promotion_sequence FROM registry.model WHERE model_id = $1", model_id)
        == 3
    )


async def test_fifty_clients_without_expectations_all_promote_in_one_sequence(registry):
    await registry.model_with(*[0.9 + index / 1000 for index in range(50)])
    await registry.put_policy(GATE)

    results = await asyncio.gather(*(registry.promote(version) for version in range(1, 51)))

    events = await registry.events()
    assert [event["sequence"] for event in events] == list(range(1, 51))
    assert sorted(result.promotion.sequence for result in results) == list(range(1, 51))
    # Each tells what it replaced: the chain of versions has no break.
    previous = [event["previous_version"] for event in events]
    assert previous == [0, *(event["version"] for event in events[:-1])]
    assert await registry.held() == events[-1]["version"]


async def test_relative_gates_are_judged_against_what_is_there_when_the_promotion_is_made(registry):
    """However the clients overlap, no version replaces a better one."""
    await registry.model_with(*[0.5 + index / 200 for index in range(50)])
    await registry.put_policy({"metric": {"condition": "accuracy > current"}})

    outcomes = await asyncio.gather(
        *(registry.promote(version) for version in range(1, 51)), return_exceptions=True
    )

    assert {type(item) for item in outcomes if isinstance(item, BaseException)} <= {PromotionRefused}
    versions = [event["version"] for event in await registry.events()]
    assert versions == sorted(versions)
    assert await registry.held() == 50


async def test_nothing_is_told_of_a_promotion_that_was_rolled_back(registry, monkeypatch):
    await registry.model_with(0.9)
    insert = promotion_repository.insert_promotion

    async def insert_and_fail(*values):
        await insert(*values)
        raise FailedPrecondition("the power went out")

    monkeypatch.setattr(promotion_repository, "insert_promotion", insert_and_fail)
    with pytest.raises(FailedPrecondition, match="power"):
        await registry.promote(1)
    monkeypatch.undo()

    assert await registry.events() == []
    assert await registry.held() is None
    assert await registry.value("SELECT count(*) FROM registry.audit_entry") == 0
    assert (await registry.promote(1)).promotion.sequence == 1


async def test_what_is_named_must_be_there_and_ready(registry):
    model_id = await registry.model_with(0.9)
    await registry.add_version(model_id, 2, status=1)

    with pytest.raises(ModelNotFound):
        await registry.promote(1, name="nothing")
    with pytest.raises(VersionNotFound):
        await registry.promote(7)
    with pytest.raises(VersionNotReady, match="PENDING"):
        await registry.promote(2)


async def test_metadata_that_is_away_is_never_a_pass(registry):
    await registry.model_with(0.95)
    await registry.put_policy(GATE)
    registry.runs.away = True

    with pytest.raises(Unavailable):
        await registry.promote(1)
    with pytest.raises(Unavailable):
        await registry.promote(1, dry_run=True)

    assert await registry.held() is None


async def test_a_rollback_does_not_wait_for_metadata_unless_a_rule_does(registry):
    await registry.model_with(0.95, 0.97)
    await registry.promote(1)
    await registry.promote(2)
    registry.runs.away = True

    result = await registry.promote(None)

    assert (result.promotion.version, result.promotion.metrics) == (1, {"accuracy": 0.95})
    assert result.promotion.git_commit == "abc123"


async def test_rollbacks_go_further_back_and_not_to_and_fro(registry):
    await registry.model_with(0.9, 0.9, 0.9)
    for version in (1, 2, 3):
        await registry.promote(version)

    first = await registry.promote(None, reason="wrong on Sundays")
    second = await registry.promote(None)

    assert (first.version, first.promotion.rollback, first.previous_version) == (2, True, 3)
    assert (second.version, await registry.held()) == (1, 1)
    with pytest.raises(NoPreviousVersion):
        await registry.promote(None)
    await registry.promote(3)
    assert (await registry.promote(None)).version == 1
    assert [event["rollback"] for event in await registry.events()] == [False] * 3 + [True] * 2 + [
        False,
        True,
    ]


async def test_a_rollback_skips_deleted_versions(registry):
    await registry.model_with(0.9, 0.9, 0.9)
    for version in (1, 2, 3):
        await registry.promote(version)
    await registry.value("UPDATE registry.version SET deleted_time_ms = 5 WHERE version = 2")

    assert (await registry.promote(None)).version == 1


async def test_a_rollback_keeps_the_rules_but_not_comparisons_and_freezes(registry):
    await registry.model_with(0.91, 0.95)
    await registry.put_policy(RELATIVE)
    await registry.promote(1)
    await registry.promote(2)
    freeze = {"freeze": {"start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z", "reason": "audit"}}
    await registry.put_policy(freeze, RELATIVE, GATE)

    with pytest.raises(PromotionRefused, match="audit"):
        await registry.promote(1)
    rolled_back = await registry.promote(None)

    assert rolled_back.version == 1
    assert len(rolled_back.rules) == 3
    await registry.put_policy({"metric": {"condition": "accuracy >= 0.92"}}, name="strict")
    await registry.put_policy(GATE)  # without the freeze
    await registry.promote(2)
    with pytest.raises(PromotionRefused, match=r"accuracy >= 0\.92"):
        await registry.promote(None)


async def test_stages_move_with_their_timestamps_and_archive_the_others(registry):
    await registry.model_with(0.9, 0.9, 0.9)
    await registry.promote(1, PRODUCTION)
    registry.clock.advance(10)

    await registry.promote(2, PRODUCTION)
    assert await registry.stages() == {1: 3, 2: 3, 3: 1}
    result = await registry.promote(3, PRODUCTION, archive_existing=True)

    assert await registry.stages() == {1: 4, 2: 4, 3: 3}
    assert result.previous_version == 2
    now_ms = registry.clock.now_ms()
    updated = await registry.rows("SELECT last_updated_time_ms AS t FROM registry.version")
    assert {row["t"] for row in updated} == {now_ms}
    assert await registry.value("SELECT last_updated_time_ms FROM registry.model") == now_ms
    again = await registry.promote(3, PRODUCTION, archive_existing=True)
    assert again.promotion is None


async def test_a_rollback_of_a_stage_archives_what_it_replaces(registry):
    await registry.model_with(0.9, 0.9)
    await registry.promote(1, STAGING)
    await registry.promote(2, STAGING, archive_existing=True)

    await registry.promote(None, STAGING)

    assert await registry.stages() == {1: 2, 2: 4}


async def test_aliases_move_no_timestamps(registry):
    """As MLflow's set_registered_model_alias."""
    await registry.model_with(0.9)
    await registry.promote(1, CHAMPION)

    assert await registry.value("SELECT last_updated_time_ms FROM registry.model") == 1
    assert await registry.value("SELECT last_updated_time_ms FROM registry.version") == 1


async def test_webhooks_that_asked_for_it_are_told(registry):
    await registry.model_with(0.9)
    await registry.rows(
        """INSERT INTO registry.webhook (webhook_id, name, url, events, status, creation_time_ms, last_updated_time_ms)
        VALUES (gen_random_uuid(), 'w', 'https://x', '{PROMOTION.CREATED,MODEL_VERSION_ALIAS.CREATED}', 1, 1, 1)"""
    )

    await registry.promote(1)

    rows = await registry.rows(
        "SELECT entity, body::jsonb -> 'data' ->> 'version' AS version FROM registry.delivery"
    )
    assert sorted((row["entity"], row["version"]) for row in rows) == [
        ("MODEL_VERSION_ALIAS", "1"),
        ("PROMOTION", "1"),
    ]


async def test_promotions_are_listed_newest_first(registry):
    await registry.model_with(0.9, 0.9)
    await registry.promote(1)
    await registry.promote(2, STAGING)
    await registry.promote(2)

    page = await registry.parts.promotions.page("fraud", None, before=None, limit=2)
    rest = await registry.parts.promotions.page("fraud", None, before=2, limit=2)
    staged = await registry.parts.promotions.page("fraud", STAGING, before=None, limit=5)

    assert [item.sequence for item in page] == [3, 2]
    assert [item.sequence for item in rest] == [1]
    assert [(item.sequence, item.target) for item in staged] == [(2, STAGING)]

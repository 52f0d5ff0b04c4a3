"""Promotions, policies, approvals and the audit trail through the client, against the real services."""

from __future__ import annotations

import pytest
import runstream
from runstream.query.client import Client
from runstream.registry.results_promotions import PromotionRefused
from runstream_common.errors import Aborted, InvalidArgument, NotFound


def policy(name: str, *rules: dict, **more: object) -> dict:
    return {"models": name, "targets": "alias/champion", "rules": list(rules), **more}


def test_a_gate_refuses_with_its_reasons_and_lets_the_better_one_pass(client, name, make_run):
    for accuracy in (0.7, 0.95):
        run_id = make_run(files={"model/w.txt": str(accuracy)}, accuracy=accuracy)
        client.models.create_version(name, f"runs:/{run_id}/model", create_model=True)
    rules = ({"metric": {"condition": "accuracy >= 0.9"}}, {"artifacts": {"verify_checksums": True}})
    stored = client.models.put_policy(name, policy(name, *rules), expected_revision=0)
    assert (stored.revision, stored.actor, stored.document["rules"]) == (1, "ada", list(rules))
    dry = client.models.promote(name, 1, alias="champion", dry_run=True)
    assert not dry.allowed
    assert dry.promotion is None
    with pytest.raises(PromotionRefused) as caught:
        client.models.promote(name, 1, alias="champion")
    assert {rule.kind: rule.passed for rule in caught.value.rules} == {"metric": False, "artifacts": True}
    assert "✗ accuracy >= 0.9" in str(caught.value)
    assert "0.7" in str(caught.value)
    outcome = client.models.promote(name, 2, alias="champion", reason="better", expected_current=0)
    assert outcome.promotion is not None
    assert (outcome.promotion.sequence, outcome.promotion.reason) == (1, "better")
    assert outcome.promotion.metrics["accuracy"] == 0.95
    assert [p.name for p in client.models.policies(name, alias="champion")] == [name]
    assert client.models.policies(name, alias="other") == ()
    client.models.delete_policy(name, reason="done")
    assert client.models.get_policy(name).deleted


def test_what_was_just_logged_counts_for_the_gates(client, name, logging_here):
    client.models.put_policy(name, policy(name, {"metric": {"condition": "accuracy >= 0.9"}}))
    with runstream.start_run():
        runstream.log_text("w", "model/w.txt")
        runstream.log_metric("accuracy", 0.99)
        runstream.flush()
        version = runstream.register_model("model", name)
        outcome = runstream.promote(name, version.version, alias="champion")
    assert outcome.allowed
    client.models.delete_policy(name)


def test_rollback_and_compare_and_set(client, name):
    for number in (1, 2):
        client.models.create_version(name, f"s3://b/{number}", create_model=True)
        client.models.promote(name, number, alias="champion")
    assert client.models.promote(name, 2, alias="champion").promotion is None  # there already
    with pytest.raises(Aborted) as caught:
        client.models.promote(name, 1, alias="champion", expected_current=1)
    assert caught.value.reason == "CURRENT_VERSION_CHANGED"
    dry = client.models.rollback(name, alias="champion", dry_run=True)
    assert (dry.allowed, dry.version) == (True, 1)
    back = client.models.rollback(name, alias="champion", reason="worse")
    assert back.promotion is not None
    assert (back.promotion.version, back.promotion.previous_version, back.promotion.rollback) == (1, 2, True)
    made = list(client.models.promotions(name, alias="champion", page_size=1))
    assert [(p.sequence, p.version) for p in made] == [(3, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize("target", [{}, {"alias": "a", "stage": "Staging"}])
def test_a_target_is_an_alias_or_a_stage(client, target):
    with pytest.raises(InvalidArgument):
        client.models.promote("any", 1, **target)


@pytest.mark.parametrize("document", [{"model": "x"}, {"rules": ["accuracy"]}, {"rules": 3}])
def test_a_policy_that_is_none_is_refused_by_field(client, name, document):
    with pytest.raises(InvalidArgument) as caught:
        client.models.put_policy(name, document)
    assert caught.value.violations[0].field.startswith("document")


def test_an_approval_promotes(client, name, registry_url, monkeypatch):
    client.models.create_version(name, "s3://b/1", create_model=True)
    roles = [{"name": "manager", "members": ["grace", "Žofie"]}]
    rule = {"approvals": {"count": 1, "roles": ["manager"]}}
    client.models.put_policy(name, policy(name, rule, roles=roles))
    asked = client.models.request_promotion(name, 1, alias="champion", reason="please")
    assert (asked.state, asked.missing_approvals, asked.actor) == ("PENDING", 1, "ada")
    monkeypatch.setenv("RUNSTREAM_ACTOR", "Žofie")  # beyond ASCII
    done = client.models.approve(asked.request_id, comment="fine")
    assert done.promotion is not None
    assert done.request.state == "EXECUTED"
    assert [(d.actor, d.approved) for d in done.request.decisions] == [("Žofie", True)]
    assert [r.request_id for r in client.models.requests(name, state="executed")] == [asked.request_id]
    assert client.models.get_request(asked.request_id).promotion_sequence == 1
    client.models.delete_policy(name)


def test_a_rejection_ends_a_request(client, name, monkeypatch):
    client.models.create_version(name, "s3://b/1", create_model=True)
    roles = [{"name": "manager", "members": ["grace"]}]
    client.models.put_policy(
        name, policy(name, {"approvals": {"count": 1, "roles": ["manager"]}}, roles=roles)
    )
    asked = client.models.request_promotion(name, 1, alias="champion")
    monkeypatch.setenv("RUNSTREAM_ACTOR", "grace")
    assert client.models.reject(asked.request_id, comment="no").request.state == "REJECTED"
    client.models.delete_policy(name)


def test_every_change_is_in_the_audit_trail_and_it_verifies(client, name):
    client.models.create(name, tags={"a": "1"})
    client.models.create_version(name, "s3://b/1")
    client.models.promote(name, 1, alias="champion", reason="first")
    entries = list(client.models.audit(name, page_size=2))
    assert {entry.actor for entry in entries} == {"ada"}
    assert [entry.sequence for entry in entries] == list(range(len(entries), 0, -1))
    assert entries[0].reason == "first"
    assert entries[0].after is not None
    report = client.models.verify_audit(chain=entries[0].chain)
    assert (report.problems, report.chain_count, report.entry_count) == ((), 1, len(entries))
    assert len(report.heads_digest) == 64


def test_an_evaluation_opens_its_gate(client, name):
    client.models.create_version(name, "s3://b/1", create_model=True)
    client.models.put_policy(name, policy(name, {"evaluation": {"evaluation": "regression"}}))
    with pytest.raises(PromotionRefused):
        client.models.promote(name, 1, alias="champion")
    client.models.record_evaluation(name, 1, "regression", passed=True, summary="all green")
    assert client.models.promote(name, 1, alias="champion").allowed
    client.models.delete_policy(name)


def test_who_has_no_name_set_is_the_system_user(registry_url, name, monkeypatch):
    monkeypatch.delenv("RUNSTREAM_ACTOR", raising=False)
    monkeypatch.setenv("LOGNAME", "lovelace")
    with Client(registry_url) as client:
        assert client.models.create_version(name, "s3://b/1", create_model=True).user_id == "lovelace"
        with pytest.raises(NotFound):
            client.models.get_policy(f"{name}-none")

"""Answers about promotions as the types of `results_promotions`, and targets as requests take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict
from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream.query.frames import time_of
from runstream.registry.results_promotions import (
    AuditEntry,
    AuditProblem,
    AuditReport,
    Decision,
    Policy,
    Promotion,
    PromotionRequest,
    RuleOutcome,
)
from runstream.registry.translation import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_STATE_PREFIX = "REQUEST_STATE_"
REQUEST_STATE_NUMBERS = {
    name.removeprefix(_STATE_PREFIX): number for name, number in pb.RequestState.items() if number
}


def target_to_proto(alias: str, stage: str) -> pb.Target:
    """The target of a promotion.

    Raises:
        InvalidArgument: not exactly one of the two was given.
    """
    if bool(alias) == bool(stage):
        raise InvalidArgument.of("target", "give an alias or a stage, and not both")
    return pb.Target(alias=alias) if alias else pb.Target(stage=stage)


def rules_of(messages: Iterable[pb.RuleOutcome]) -> tuple[RuleOutcome, ...]:
    """The outcomes of rules in an answer."""
    return tuple(RuleOutcome(m.policy, m.revision, m.kind, m.rule, m.passed, m.detail) for m in messages)


def promotion_of(message: pb.Promotion) -> Promotion:
    """The promotion in an answer."""
    kind, target = _target_of(message.target)
    return Promotion(
        promotion_id=message.promotion_id,
        name=message.name,
        sequence=message.sequence,
        version=message.version,
        previous_version=message.previous_version,
        target_kind=kind,
        target=target,
        rollback=message.rollback,
        actor=message.actor,
        reason=message.reason,
        time=time_of(message.time_ms),
        request_id=message.request_id,
        rules=rules_of(message.rules),
        metrics=dict(message.metrics),
        run_id=message.run_id,
        git_commit=message.git_commit,
        artifact_uri=message.artifact_uri,
        artifact_digest=message.artifact_digest,
    )


def policy_of(message: pb.Policy) -> Policy:
    """The policy in an answer."""
    return Policy(
        name=message.name,
        revision=message.revision,
        document=MessageToDict(message.document, preserving_proto_field_name=True),
        actor=message.actor,
        time=time_of(message.time_ms),
        deleted=message.deleted,
    )


def request_of(message: pb.PromotionRequest) -> PromotionRequest:
    """The request for approval in an answer."""
    kind, target = _target_of(message.target)
    return PromotionRequest(
        request_id=message.request_id,
        name=message.name,
        version=message.version,
        target_kind=kind,
        target=target,
        reason=message.reason,
        expected_current=message.expected_current if message.HasField("expected_current") else None,
        actor=message.actor,
        state=name_of(message.state, REQUEST_STATE_NUMBERS),
        decisions=tuple(
            Decision(d.actor, d.role, d.approved, d.comment, time_of(d.time_ms)) for d in message.decisions
        ),
        creation_time=time_of(message.creation_time_ms),
        expire_time=time_of(message.expire_time_ms),
        promotion_sequence=message.promotion_sequence,
        last_error=message.last_error,
        missing_approvals=message.missing_approvals,
    )


def audit_entry_of(message: pb.AuditEntry) -> AuditEntry:
    """The audit entry in an answer."""
    return AuditEntry(
        chain=message.chain,
        sequence=message.sequence,
        time=time_of(message.time_ms),
        actor=message.actor,
        action=message.action,
        subject=message.subject,
        version=message.version,
        reason=message.reason,
        before_json=message.before_json,
        after_json=message.after_json,
        hash=message.hash,
    )


def audit_report_of(message: pb.VerifyAuditResponse) -> AuditReport:
    """The outcome of a verification in an answer."""
    problems = tuple(AuditProblem(p.chain, p.sequence, p.message) for p in message.problems)
    return AuditReport(message.chain_count, message.entry_count, problems, message.heads_digest)


def _target_of(message: pb.Target) -> tuple[str, str]:
    kind = message.WhichOneof("target") or ""
    return kind, getattr(message, kind) if kind else ""

"""Between messages of ``runstream.registry.v1.PromotionService`` and the values of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict
from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream_registry import rules
from runstream_registry.audit_hash import canonical_json
from runstream_registry.entities import Stage
from runstream_registry.policy.documents import NAME_RULE, is_plain_name
from runstream_registry.promotion_entities import PromotionOrder, RequestState, Target, TargetKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_registry.audit import AuditEntry, AuditReport
    from runstream_registry.policy.entities import Policy
    from runstream_registry.promotion_entities import Promotion, Request, RuleOutcome

MAX_REASON_LENGTH: Final = 8_000
ARCHIVING_STAGES: Final = frozenset({Stage.STAGING, Stage.PRODUCTION})
"""Stages whose other versions can be archived, and that can be rolled back (MLflow)."""


def target(message: pb.Target, field: str = "target") -> Target:
    """The target.

    Raises:
        InvalidArgument: it is missing, no alias, or no stage.
    """
    if message.WhichOneof("target") == "alias":
        return Target(TargetKind.ALIAS, rules.alias(message.alias, field=f"{field}.alias"))
    if message.WhichOneof("target") == "stage":
        return Target(TargetKind.STAGE, _stage(message.stage, f"{field}.stage").label)
    raise InvalidArgument.of(field, "is required: an alias or a stage")


def target_or_none(message: pb.Target) -> Target | None:
    """The target of a list; None when it is not given."""
    return target(message) if message.WhichOneof("target") else None


def reason(text: str, field: str = "reason") -> str:
    """Why somebody does something.

    Raises:
        InvalidArgument: it is too long or cannot be stored.
    """
    violations = Violations()
    rules.text(field, text, MAX_REASON_LENGTH, violations)
    violations.check()
    return text


def role(name: str) -> str:
    """The role in which somebody decides; empty means any.

    Raises:
        InvalidArgument: no policy can have such a role.
    """
    if name and not is_plain_name(name):
        raise InvalidArgument.of("role", NAME_RULE)
    return name


def promote_order(request: pb.PromoteRequest, actor: str) -> PromotionOrder:
    """What a call of Promote wants.

    Raises:
        InvalidArgument: a field is wrong.
    """
    where = target(request.target)
    if request.archive_existing and where.stage not in ARCHIVING_STAGES:
        raise InvalidArgument.of("archive_existing", "needs the stage Staging or Production as target")
    return PromotionOrder(
        name=rules.required_name(request.name),
        version=rules.version_number(request.version),
        target=where,
        actor=actor,
        reason=reason(request.reason),
        expected_current=_expected(request),
        dry_run=request.dry_run,
        archive_existing=request.archive_existing,
        request_id=rules.uuid_text(request.request_id, "request_id") if request.request_id else "",
    )


def rollback_order(request: pb.RollbackRequest, actor: str) -> PromotionOrder:
    """What a call of Rollback wants.

    Raises:
        InvalidArgument: a field is wrong.
    """
    where = target(request.target)
    if where.stage is not None and where.stage not in ARCHIVING_STAGES:
        raise InvalidArgument.of("target.stage", "only Staging and Production can be rolled back")
    return PromotionOrder(
        name=rules.required_name(request.name),
        version=None,
        target=where,
        actor=actor,
        reason=reason(request.reason),
        expected_current=_expected(request),
        dry_run=request.dry_run,
    )


def request_order(request: pb.RequestPromotionRequest, actor: str) -> PromotionOrder:
    """What a call of RequestPromotion wants to be promoted.

    Raises:
        InvalidArgument: a field is wrong.
    """
    return PromotionOrder(
        name=rules.required_name(request.name),
        version=rules.version_number(request.version),
        target=target(request.target),
        actor=actor,
        reason=reason(request.reason),
        expected_current=_expected(request),
    )


def request_state(number: int) -> RequestState | None:
    """The state; None when it is unspecified.

    Raises:
        InvalidArgument: the number is not known.
    """
    if number == 0:
        return None
    try:
        return RequestState(number)
    except ValueError as error:
        raise InvalidArgument.of("state", f"{number} is not a state") from error


def document_fields(document: pb.PolicyDocument) -> dict[str, Any]:
    """The document under the field names of the .proto, fields at their default left out."""
    fields: dict[str, Any] = MessageToDict(document, preserving_proto_field_name=True)
    return fields


def policy_message(policy: Policy) -> pb.Policy:
    """The policy as clients see it."""
    return pb.Policy(
        name=policy.name,
        revision=policy.revision,
        document=ParseDict(dict(policy.fields), pb.PolicyDocument()),
        actor=policy.actor,
        time_ms=policy.time_ms,
        deleted=policy.deleted,
    )


def promotion_message(promotion: Promotion) -> pb.Promotion:
    """The promotion as clients see it."""
    return pb.Promotion(
        promotion_id=promotion.promotion_id,
        name=promotion.name,
        sequence=promotion.sequence,
        version=promotion.version,
        previous_version=promotion.previous_version,
        target=_target_message(promotion.target),
        rollback=promotion.rollback,
        actor=promotion.actor,
        reason=promotion.reason,
        time_ms=promotion.time_ms,
        request_id=promotion.request_id,
        rules=rule_messages(promotion.rules),
        metrics=promotion.metrics,
        run_id=promotion.run_id,
        git_commit=promotion.git_commit,
        artifact_uri=promotion.artifact_uri,
        artifact_digest=promotion.artifact_digest,
    )


def rule_messages(outcomes: Iterable[RuleOutcome]) -> list[pb.RuleOutcome]:
    """Outcomes of rules as clients see them."""
    return [
        pb.RuleOutcome(
            policy=outcome.policy,
            revision=outcome.revision,
            kind=outcome.kind,
            rule=outcome.rule,
            passed=outcome.passed,
            detail=outcome.detail,
        )
        for outcome in outcomes
    ]


def request_message(request: Request) -> pb.PromotionRequest:
    """The request as clients see it."""
    return pb.PromotionRequest(
        request_id=request.request_id,
        name=request.name,
        version=request.version,
        target=_target_message(request.target),
        reason=request.reason,
        expected_current=request.expected_current,
        actor=request.actor,
        state=pb.RequestState.ValueType(request.state),
        decisions=[
            pb.Decision(
                actor=decision.actor,
                role=decision.role,
                approved=decision.approved,
                comment=decision.comment,
                time_ms=decision.time_ms,
            )
            for decision in request.decisions
        ],
        creation_time_ms=request.creation_time_ms,
        expire_time_ms=request.expire_time_ms,
        promotion_sequence=request.promotion_sequence,
        last_error=request.last_error,
        missing_approvals=request.missing_approvals,
    )


def audit_entry_message(entry: AuditEntry) -> pb.AuditEntry:
    """The entry as clients see it."""
    fields = entry.fields
    return pb.AuditEntry(
        chain=entry.row.chain,
        sequence=entry.row.sequence,
        time_ms=entry.row.time_ms,
        actor=fields.get("actor", ""),
        action=fields.get("action", ""),
        subject=entry.row.subject,
        version=fields.get("version", 0),
        reason=fields.get("reason", ""),
        before_json=_json(fields.get("before")),
        after_json=_json(fields.get("after")),
        hash=entry.row.hash.hex(),
    )


def audit_report_message(report: AuditReport) -> pb.VerifyAuditResponse:
    """The report as clients see it."""
    return pb.VerifyAuditResponse(
        chain_count=report.chain_count,
        entry_count=report.entry_count,
        problems=[
            pb.AuditProblem(chain=problem.chain, sequence=problem.sequence, message=problem.message)
            for problem in report.problems
        ],
        heads_digest=report.heads_digest,
    )


def _stage(text: str, field: str) -> Stage:
    for stage in Stage:
        if text.lower() == stage.label.lower():
            return stage
    raise InvalidArgument.of(field, f"{text[:50]!r} is none of None, Staging, Production and Archived")


def _expected(
    request: pb.PromoteRequest | pb.RollbackRequest | pb.RequestPromotionRequest,
) -> int | None:
    if not request.HasField("expected_current"):
        return None
    if request.expected_current < 0:
        raise InvalidArgument.of("expected_current", "must be a version, or 0 for none")
    return request.expected_current


def _target_message(where: Target) -> pb.Target:
    return pb.Target(alias=where.name) if where.kind is TargetKind.ALIAS else pb.Target(stage=where.name)


def _json(value: dict[str, Any] | None) -> str:
    return "" if value is None else canonical_json(value)

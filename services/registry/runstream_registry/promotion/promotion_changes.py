"""What the audit trail, the bus and webhooks are told of a promotion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.bus.topics import MODEL_PROMOTED
from runstream_proto.events.v1.model_promoted_pb2 import ModelPromoted

from runstream_registry.changes import Change, Event, Notice, model_chain
from runstream_registry.store.promotion_repository import rule_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_registry.promotion_entities import Promotion, TargetFacts


def promotion_change(
    facts: TargetFacts, promotion: Promotion, *, version_id: str, archived: Sequence[int]
) -> Change:
    """The change that a promotion is.

    Args:
        facts: from before it.
        archived: versions that lost the stage to it.
    """
    target = {"target_kind": promotion.target.kind.value, "target": promotion.target.name}
    return Change(
        chain=model_chain(facts.model_id),
        action=f"{promotion.target.kind}.promoted",
        subject=facts.name,
        version=promotion.version,
        actor=promotion.actor,
        reason=promotion.reason,
        before={**target, "version": promotion.previous_version},
        after={
            **target,
            "version": promotion.version,
            "promotion_id": promotion.promotion_id,
            "sequence": promotion.sequence,
            "rollback": promotion.rollback,
            "request_id": promotion.request_id,
            "artifact_uri": promotion.artifact_uri,
            "artifact_digest": promotion.artifact_digest,
            "archived": list(archived),
            "rules": rule_fields(promotion.rules),
        },
        events=lambda audit_hash: [
            Event(MODEL_PROMOTED, facts.name, _event(facts, promotion, version_id, audit_hash))
        ],
        notices=_notices(facts, promotion),
        time_ms=promotion.time_ms,
    )


def _event(facts: TargetFacts, promotion: Promotion, version_id: str, audit_hash: bytes) -> ModelPromoted:
    return ModelPromoted(
        event_id=promotion.promotion_id,
        model=facts.name,
        sequence=promotion.sequence,
        version=promotion.version,
        previous_version=promotion.previous_version,
        target_kind=promotion.target.kind.value,
        target=promotion.target.name,
        rollback=promotion.rollback,
        artifact_uri=promotion.artifact_uri,
        artifact_digest=promotion.artifact_digest,
        version_id=version_id,
        run_id=promotion.run_id,
        git_commit=promotion.git_commit,
        metrics=promotion.metrics,
        actor=promotion.actor,
        reason=promotion.reason,
        occurred_time_ms=promotion.time_ms,
        audit_hash=audit_hash.hex(),
        prompt=facts.prompt,
    )


def _notices(facts: TargetFacts, promotion: Promotion) -> list[Notice]:
    data: dict[str, Any] = {
        "name": facts.name,
        "version": str(promotion.version),
        "promotion_id": promotion.promotion_id,
        "sequence": promotion.sequence,
        "previous_version": str(promotion.previous_version) if promotion.previous_version else None,
        "target_kind": promotion.target.kind.value,
        "target": promotion.target.name,
        "rollback": promotion.rollback,
        "actor": promotion.actor,
        "reason": promotion.reason,
        "run_id": promotion.run_id,
        "git_commit": promotion.git_commit,
        "artifact_uri": promotion.artifact_uri,
        "artifact_digest": promotion.artifact_digest,
    }
    notices = [Notice("PROMOTION", "CREATED", facts.name, data)]
    if promotion.target.stage is None:
        entity = "PROMPT_ALIAS" if facts.prompt else "MODEL_VERSION_ALIAS"
        alias = {"name": facts.name, "alias": promotion.target.name, "version": str(promotion.version)}
        notices.append(Notice(entity, "CREATED", facts.name, alias))
    return notices

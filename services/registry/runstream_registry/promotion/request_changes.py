"""What the audit trail, the bus and webhooks are told of requests for approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.bus.topics import MODEL_CHANGED
from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.model_changed_pb2 import ModelChanged

from runstream_registry.changes import Change, Event, Notice, model_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_registry.promotion_entities import Request, RequestState

CREATED = "request.created"
DECIDED = "request.decided"
FAILED = "request.failed"
EXPIRED = "request.expired"


def request_change(
    request: Request,
    action: str,
    *,
    before: RequestState | None,
    actor: str,
    reason: str,
    time_ms: int,
    notice: str = "",
    more: Mapping[str, Any] | None = None,
) -> Change:
    """The change of a request.

    Args:
        request: as it is after it.
        action: one of the constants above.
        before: its state before; None when there was no request.
        time_ms: milliseconds since the Unix epoch.
        notice: what webhooks know it as; empty when they are not told.
        more: further facts, for the audit trail.
    """
    return Change(
        chain=model_chain(request.model_id),
        action=action,
        subject=request.name,
        version=request.version,
        actor=actor,
        reason=reason,
        before=None if before is None else {"request_id": request.request_id, "state": before.name},
        after={**_fields(request), **(more or {})},
        events=[Event(MODEL_CHANGED, request.name, _event(request, action, actor, time_ms))],
        notices=[Notice("PROMOTION_REQUEST", notice, request.name, _data(request, actor))] if notice else [],
        time_ms=time_ms,
    )


def _fields(request: Request) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "state": request.state.name,
        "target_kind": request.target.kind.value,
        "target": request.target.name,
        "requested_by": request.actor,
        "expire_time_ms": request.expire_time_ms,
    }


def _event(request: Request, action: str, actor: str, time_ms: int) -> ModelChanged:
    details = {name: str(value) for name, value in _fields(request).items()}
    if request.last_error:
        details["last_error"] = request.last_error
    return ModelChanged(
        event_id=new_batch_id(),
        action=action,
        model=request.name,
        version=request.version,
        actor=actor,
        occurred_time_ms=time_ms,
        details=details,
        prompt=request.prompt,
    )


def _data(request: Request, actor: str) -> dict[str, Any]:
    return {
        "name": request.name,
        "version": str(request.version),
        "request_id": request.request_id,
        "target_kind": request.target.kind.value,
        "target": request.target.name,
        "requested_by": request.actor,
        "actor": actor,
        "reason": request.reason,
    }

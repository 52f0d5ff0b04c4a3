"""Promotions of model versions to aliases and stages: judged, made, taken back, listed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream_gateway.actors import metadata_of
from runstream_gateway.control.messages import answer_of, target_message, value_of
from runstream_gateway.control.values import (
    Count,
    ModelName,
    NextPageToken,
    Reason,
    Target,
    TimeMs,
    Version,
    VersionOrNone,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_gateway.backends import Backends

Expected: TypeAlias = Annotated[
    VersionOrNone, Meta(description="Version that the target must hold now, 0 for none; left out means any")
]
RequestId: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$",
        description="Id of a request for approval",
    ),
]
MetricValue: TypeAlias = float | str


class RuleOutcome(Struct, frozen=True):
    """What became of one rule."""

    policy: str
    revision: Count
    kind: Annotated[
        str, Meta(description="metric, tag, signature, artifacts, evaluation, approvals or freeze")
    ]
    rule: Annotated[str, Meta(description="The rule in words")]
    passed: bool
    detail: Annotated[str, Meta(description="Why, with the numbers")]


class Promotion(Struct, frozen=True, kw_only=True):
    """A promotion that was made."""

    promotion_id: Annotated[str, Meta(description="UUID; also the event's id")]
    name: str
    sequence: Annotated[int, Meta(ge=1, description="1, 2, 3… within the model, without gaps")]
    version: Version
    previous_version: VersionOrNone
    target: Target
    rollback: bool
    actor: str
    reason: str
    time_ms: TimeMs
    request_id: str
    rules: list[RuleOutcome]
    metrics: Annotated[
        dict[str, MetricValue],
        Meta(description="Of the source run when it was made; NaN and infinities as text, as in proto3 JSON"),
    ]
    run_id: str
    git_commit: str
    artifact_uri: str
    artifact_digest: str


class PromotionPage(Struct, frozen=True):
    """Promotions of a model, newest first."""

    promotions: list[Promotion]
    next_page_token: NextPageToken


class PromoteOrder(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be promoted where."""

    version: Version
    target: Target
    reason: Reason = ""
    expected_current: Expected | UnsetType = UNSET
    archive_existing: Annotated[
        bool, Meta(description="Stages only: archive the other versions of the stage")
    ] = False
    request_id: Annotated[
        RequestId | UnsetType, Meta(description="Approved request that this carries out")
    ] = UNSET


class RollbackOrder(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which target goes back to the version that it held before."""

    target: Target
    reason: Reason = ""
    expected_current: Expected | UnsetType = UNSET


class Judgement(Struct, frozen=True, kw_only=True):
    """What the rules say of a promotion or rollback, and the promotion if it was made."""

    allowed: Annotated[bool, Meta(description="Whether every rule is met")]
    version: VersionOrNone
    previous_version: Annotated[VersionOrNone, Meta(description="Version that the target held; 0 for none")]
    rules: list[RuleOutcome]
    promotion: Annotated[
        Promotion | None, Meta(description="null for a dry run, and when the target held the version already")
    ] = None


class Promotions:
    """Calls about promotions."""

    def __init__(self, backends: Backends) -> None:
        self._promotions = backends.promotions
        self._timeout = backends.timeout_seconds

    async def page(
        self, model: str, target: Target | None = None, *, page_size: int = 100, page_token: str = ""
    ) -> PromotionPage:
        """One page of a model's promotions."""
        request = pb.ListPromotionsRequest(
            name=model,
            target=None if target is None else target_message(target),
            page_size=page_size,
            page_token=page_token,
        )
        answer = await answer_of(self._promotions.ListPromotions(request, timeout=self._timeout))
        return PromotionPage([promotion_of(item) for item in answer.promotions], answer.next_page_token)

    async def promote(
        self, model: ModelName, order: PromoteOrder, *, actor: str, dry_run: bool = False
    ) -> Judgement:
        """Promote, or with ``dry_run`` only judge."""
        request = pb.PromoteRequest(
            name=model,
            version=order.version,
            target=target_message(order.target),
            reason=order.reason,
            expected_current=or_none(order.expected_current),
            dry_run=dry_run,
            archive_existing=order.archive_existing,
            request_id=or_none(order.request_id) or "",
        )
        call = self._promotions.Promote(request, timeout=self._timeout, metadata=metadata_of(actor))
        return _judgement(await answer_of(call), order.version)

    async def roll_back(
        self, model: ModelName, order: RollbackOrder, *, actor: str, dry_run: bool = False
    ) -> Judgement:
        """Bring back the version that the target held before, or with ``dry_run`` only judge."""
        request = pb.RollbackRequest(
            name=model,
            target=target_message(order.target),
            reason=order.reason,
            expected_current=or_none(order.expected_current),
            dry_run=dry_run,
        )
        call = self._promotions.Rollback(request, timeout=self._timeout, metadata=metadata_of(actor))
        answer = await answer_of(call)
        return _judgement(answer, answer.version)


def promotion_of(message: pb.Promotion) -> Promotion:
    """A promotion as this package tells it."""
    return value_of(message, Promotion, metrics=_metrics(message.metrics))


def or_none(value: Any) -> Any:
    """None for what was not given."""
    return None if value is UNSET else value


def _judgement(answer: pb.PromoteResponse | pb.RollbackResponse, version: int) -> Judgement:
    return Judgement(
        allowed=answer.allowed,
        version=version,
        previous_version=answer.previous_version,
        rules=[value_of(rule, RuleOutcome) for rule in answer.rules],
        promotion=promotion_of(answer.promotion) if answer.HasField("promotion") else None,
    )


def _metrics(metrics: Mapping[str, float]) -> dict[str, MetricValue]:
    return {key: value if math.isfinite(value) else _not_finite(value) for key, value in metrics.items()}


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"

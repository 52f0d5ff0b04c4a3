"""Promotions, rollbacks, their dry runs, lineage, and outcomes of evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from runstream_gateway.control.lineage import Lineage, Lineages
from runstream_gateway.control.models import EvaluationOutcome, Models
from runstream_gateway.control.promotions import (
    Judgement,
    PromoteOrder,
    PromotionPage,
    Promotions,
    RollbackOrder,
)
from runstream_gateway.control.values import Nothing, PageSize, PageToken
from runstream_gateway.control_api.operations import Call, Operation
from runstream_gateway.control_api.parameters import ModelAt, TargetQuery, VersionAt

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class PromotionsQuery(TargetQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A page, of all targets or of one."""

    page_size: PageSize = 100
    page_token: PageToken = ""


class LineageQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How far to look."""

    depth: Annotated[int, Meta(ge=1, le=20, description="Generations of parents and children")] = 5


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    return [*_promotion_operations(Promotions(backends)), *_version_operations(backends)]


def _promotion_operations(promotions: Promotions) -> list[Operation]:
    async def page(call: Call[ModelAt, PromotionsQuery, Nothing]) -> PromotionPage:
        query = call.query
        return await promotions.page(
            call.at.model, query.target(), page_size=query.page_size, page_token=query.page_token
        )

    async def promote(call: Call[ModelAt, Nothing, PromoteOrder]) -> Judgement:
        return await promotions.promote(call.at.model, call.body, actor=call.actor)

    async def judge(call: Call[ModelAt, Nothing, PromoteOrder]) -> Judgement:
        return await promotions.promote(call.at.model, call.body, actor=call.actor, dry_run=True)

    async def roll_back(call: Call[ModelAt, Nothing, RollbackOrder]) -> Judgement:
        return await promotions.roll_back(call.at.model, call.body, actor=call.actor)

    async def judge_rollback(call: Call[ModelAt, Nothing, RollbackOrder]) -> Judgement:
        return await promotions.roll_back(call.at.model, call.body, actor=call.actor, dry_run=True)

    tag = "promotions"
    return [
        Operation(
            method="GET",
            path="/models/{model}/promotions",
            run=page,
            summary="Promotions of a model, newest first",
            tag=tag,
            name="listPromotions",
            at=ModelAt,
            query=PromotionsQuery,
            answer=PromotionPage,
        ),
        Operation(
            method="POST",
            path="/models/{model}/promotions",
            run=promote,
            summary="Promote a version if every rule of the policies that apply is met",
            description="A rule that is not met is a 409 with the reason `PROMOTION_REFUSED`; a dry run tells of all.",
            tag=tag,
            name="promote",
            at=ModelAt,
            body=PromoteOrder,
            answer=Judgement,
        ),
        Operation(
            method="POST",
            path="/models/{model}/promotions/dry-run",
            run=judge,
            summary="Check every rule and change nothing",
            tag=tag,
            name="dryRunPromotion",
            at=ModelAt,
            body=PromoteOrder,
            answer=Judgement,
        ),
        Operation(
            method="POST",
            path="/models/{model}/rollbacks",
            run=roll_back,
            summary="Promote the version that the target held before",
            tag=tag,
            name="rollBack",
            at=ModelAt,
            body=RollbackOrder,
            answer=Judgement,
        ),
        Operation(
            method="POST",
            path="/models/{model}/rollbacks/dry-run",
            run=judge_rollback,
            summary="Check what a rollback would do and change nothing",
            tag=tag,
            name="dryRunRollback",
            at=ModelAt,
            body=RollbackOrder,
            answer=Judgement,
        ),
    ]


def _version_operations(backends: Backends) -> list[Operation]:
    lineages, models = Lineages(backends), Models(backends)

    async def lineage(call: Call[VersionAt, LineageQuery, Nothing]) -> Lineage:
        return await lineages.get(call.at.model, call.at.version, call.query.depth)

    async def record(call: Call[VersionAt, Nothing, EvaluationOutcome]) -> None:
        await models.record_evaluation(call.at.model, call.at.version, call.body, actor=call.actor)

    return [
        Operation(
            method="GET",
            path="/models/{model}/versions/{version}/lineage",
            run=lineage,
            summary="Where a version came from and where it went",
            tag="lineage",
            name="getLineage",
            at=VersionAt,
            query=LineageQuery,
            answer=Lineage,
        ),
        Operation(
            method="POST",
            path="/models/{model}/versions/{version}/evaluations",
            run=record,
            summary="Record the outcome of an evaluation, for gates that ask for one",
            tag="promotions",
            name="recordEvaluation",
            at=VersionAt,
            body=EvaluationOutcome,
            status=204,
        ),
    ]

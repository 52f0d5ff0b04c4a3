"""Requests for approval of promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from runstream_gateway.control.approvals import (
    ApprovalRequest,
    Approvals,
    Decided,
    NewRequest,
    RequestPage,
    RequestState,
)
from runstream_gateway.control.promotions import RequestId, or_none
from runstream_gateway.control.values import ModelName, Nothing, Reason
from runstream_gateway.control_api.operations import Call, Operation
from runstream_gateway.control_api.parameters import PageQuery

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class RequestAt(Struct, frozen=True):
    """A request."""

    request: RequestId


class RequestsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which model, in which state."""

    model: ModelName | UnsetType = UNSET
    state: RequestState | UnsetType = UNSET


class Word(Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says to a request."""

    comment: Reason = ""
    role: Annotated[str, Meta(max_length=250, description="Role in which it is said; empty means any")] = ""


class Withdrawal(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a request is taken back."""

    comment: Reason = ""


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    approvals = Approvals(backends)
    return [*_readings(approvals), *_decisions(approvals)]


def _readings(approvals: Approvals) -> list[Operation]:
    async def page(call: Call[Nothing, RequestsQuery, Nothing]) -> RequestPage:
        query = call.query
        return await approvals.page(
            or_none(query.model) or "",
            or_none(query.state),
            page_size=query.page_size,
            page_token=query.page_token,
        )

    async def get(call: Call[RequestAt, Nothing, Nothing]) -> ApprovalRequest:
        return await approvals.get(call.at.request)

    async def create(call: Call[Nothing, Nothing, NewRequest]) -> ApprovalRequest:
        return await approvals.create(call.body, actor=call.actor)

    return [
        Operation(
            method="GET",
            path="/promotion-requests",
            run=page,
            summary="Requests for approval, newest first",
            tag="approvals",
            name="listPromotionRequests",
            query=RequestsQuery,
            answer=RequestPage,
        ),
        Operation(
            method="POST",
            path="/promotion-requests",
            run=create,
            summary="Ask for approval of a promotion; its other rules must be met",
            tag="approvals",
            name="requestPromotion",
            body=NewRequest,
            answer=ApprovalRequest,
            status=201,
        ),
        Operation(
            method="GET",
            path="/promotion-requests/{request}",
            run=get,
            summary="One request with what was said",
            tag="approvals",
            name="getPromotionRequest",
            at=RequestAt,
            answer=ApprovalRequest,
        ),
    ]


def _decisions(approvals: Approvals) -> list[Operation]:
    async def approve(call: Call[RequestAt, Nothing, Word]) -> Decided:
        word = call.body
        return await approvals.decide(
            call.at.request, approve=True, actor=call.actor, role=word.role, comment=word.comment
        )

    async def reject(call: Call[RequestAt, Nothing, Word]) -> Decided:
        word = call.body
        return await approvals.decide(
            call.at.request, approve=False, actor=call.actor, role=word.role, comment=word.comment
        )

    async def withdraw(call: Call[RequestAt, Nothing, Withdrawal]) -> Decided:
        return await approvals.withdraw(call.at.request, actor=call.actor, comment=call.body.comment)

    return [
        Operation(
            method="POST",
            path="/promotion-requests/{request}/approve",
            run=approve,
            summary="Approve; the approval that completes a request promotes",
            tag="approvals",
            name="approvePromotionRequest",
            at=RequestAt,
            body=Word,
            answer=Decided,
        ),
        Operation(
            method="POST",
            path="/promotion-requests/{request}/reject",
            run=reject,
            summary="Reject, which is final",
            tag="approvals",
            name="rejectPromotionRequest",
            at=RequestAt,
            body=Word,
            answer=Decided,
        ),
        Operation(
            method="POST",
            path="/promotion-requests/{request}/withdraw",
            run=withdraw,
            summary="Take back one's own request",
            tag="approvals",
            name="withdrawPromotionRequest",
            at=RequestAt,
            body=Withdrawal,
            answer=Decided,
        ),
    ]

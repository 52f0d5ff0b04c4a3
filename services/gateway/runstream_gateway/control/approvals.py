"""Requests for approval of promotions: asked for, approved, rejected, withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType
from runstream_common.errors import PermissionDenied
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream_gateway.actors import metadata_of
from runstream_gateway.control.messages import answer_of, enum_name, target_message, value_of
from runstream_gateway.control.promotions import Expected, Promotion, or_none, promotion_of
from runstream_gateway.control.values import (
    Count,
    ModelName,
    NextPageToken,
    Reason,
    Target,
    TimeMs,
    Version,
)

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends

_STATE_PREFIX: Final = "REQUEST_STATE_"

RequestState: TypeAlias = Literal["PENDING", "APPROVED", "EXECUTED", "REJECTED", "EXPIRED"]


class Decision(Struct, frozen=True):
    """One person's word."""

    actor: str
    role: Annotated[str, Meta(description="In which role; may be empty")]
    approved: bool
    comment: str
    time_ms: TimeMs


class ApprovalRequest(Struct, frozen=True, kw_only=True):
    """A request for approval of a promotion."""

    request_id: str
    name: Annotated[str, Meta(description="Model")]
    version: Version
    target: Target
    reason: str
    actor: Annotated[str, Meta(description="Who asked")]
    state: RequestState
    decisions: list[Decision]
    creation_time_ms: TimeMs
    expire_time_ms: TimeMs
    promotion_sequence: Annotated[int, Meta(description="Promotion that carried it out; 0 when none did")]
    last_error: Annotated[str, Meta(description="Why it was not carried out, although approved; else empty")]
    missing_approvals: Count
    expected_current: int | None = None


class RequestPage(Struct, frozen=True):
    """Requests, newest first."""

    requests: list[ApprovalRequest]
    next_page_token: NextPageToken


class NewRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The promotion that approval is asked for."""

    name: ModelName
    version: Version
    target: Target
    reason: Reason = ""
    expected_current: Expected | UnsetType = UNSET


class Decided(Struct, frozen=True):
    """A request after somebody's word, and the promotion when that completed it."""

    request: ApprovalRequest
    promotion: Promotion | None = None


class Approvals:
    """Calls about requests for approval."""

    def __init__(self, backends: Backends) -> None:
        self._promotions = backends.promotions
        self._timeout = backends.timeout_seconds

    async def page(
        self,
        model: str = "",
        state: RequestState | None = None,
        *,
        page_size: int = 100,
        page_token: str = "",
    ) -> RequestPage:
        """One page of requests: of one model, in one state, or all."""
        request = pb.ListRequestsRequest(
            name=model,
            state=pb.RequestState.Value(_STATE_PREFIX + state) if state else pb.REQUEST_STATE_UNSPECIFIED,
            page_size=page_size,
            page_token=page_token,
        )
        answer = await answer_of(self._promotions.ListRequests(request, timeout=self._timeout))
        return RequestPage([_request(item) for item in answer.requests], answer.next_page_token)

    async def get(self, request_id: str) -> ApprovalRequest:
        """One request."""
        call = self._promotions.GetRequest(pb.GetRequestRequest(request_id=request_id), timeout=self._timeout)
        return _request((await answer_of(call)).request)

    async def create(self, new: NewRequest, *, actor: str) -> ApprovalRequest:
        """Ask for approval; rules other than approvals must be met."""
        request = pb.RequestPromotionRequest(
            name=new.name,
            version=new.version,
            target=target_message(new.target),
            reason=new.reason,
            expected_current=or_none(new.expected_current),
        )
        call = self._promotions.RequestPromotion(request, timeout=self._timeout, metadata=metadata_of(actor))
        return _request((await answer_of(call)).request)

    async def decide(
        self, request_id: str, *, approve: bool, actor: str, role: str = "", comment: str = ""
    ) -> Decided:
        """Approve or reject; the approval that completes a request promotes."""
        request = pb.DecideRequestRequest(request_id=request_id, approve=approve, role=role, comment=comment)
        call = self._promotions.DecideRequest(request, timeout=self._timeout, metadata=metadata_of(actor))
        answer = await answer_of(call)
        promotion = promotion_of(answer.promotion) if answer.HasField("promotion") else None
        return Decided(_request(answer.request), promotion)

    async def withdraw(self, request_id: str, *, actor: str, comment: str = "") -> Decided:
        """Take back one's own request: the rejection of it by who asked.

        Raises:
            PermissionDenied: somebody else asked.
        """
        asked_by = (await self.get(request_id)).actor
        if asked_by != actor:
            raise PermissionDenied(
                f"{asked_by} has asked for this promotion, so only they can withdraw the request",
                reason="NOT_THE_REQUESTER",
            )
        return await self.decide(request_id, approve=False, actor=actor, comment=comment)


def _request(message: pb.PromotionRequest) -> ApprovalRequest:
    return value_of(message, ApprovalRequest, state=enum_name(message.state, pb.RequestState, _STATE_PREFIX))

"""Flows over promotions and requests for approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import FailedPrecondition, PlatformError
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream.query.client_calls import Flow, Page, Wait, ready
from runstream.query.client_runs import get_run, number_of
from runstream.registry.calls import PROMOTIONS, ask, version_number
from runstream.registry.flows_models import get_version
from runstream.registry.results_promotions import (
    PROMOTION_REFUSED,
    DecisionOutcome,
    PromotionOutcome,
    PromotionRefused,
)
from runstream.registry.translation_promotions import (
    REQUEST_STATE_NUMBERS,
    promotion_of,
    request_of,
    rules_of,
    target_to_proto,
)

if TYPE_CHECKING:
    from runstream.registry.results_promotions import Promotion, PromotionRequest


def promote(
    name: str,
    version: int | str,
    alias: str,
    stage: str,
    *,
    reason: str,
    expected_current: int | None,
    dry_run: bool,
    archive_existing: bool,
    request_id: str,
    wait: Wait,
) -> Flow[PromotionOutcome]:
    """Move an alias or stage to a version.

    Raises:
        PromotionRefused: a rule is not met.
    """
    target = target_to_proto(alias, stage)
    number = yield from version_number(name, version)
    yield from _metrics_applied(name, number, wait)
    request = pb.PromoteRequest(
        name=name,
        version=number,
        target=target,
        reason=reason,
        expected_current=expected_current,
        dry_run=dry_run,
        archive_existing=archive_existing,
        request_id=request_id,
    )
    try:
        return (yield from _promote(request))
    except FailedPrecondition as error:
        raise (yield from _refusal(error, request)) from error


def _metrics_applied(name: str, version: int, wait: Wait) -> Flow[None]:
    """Wait until what this process logged to the source run can be read, since the gates will read it."""
    if not wait.positions:
        return
    found = yield from get_version(name, version, "", "")
    if not found.run_id:
        return
    try:
        yield from get_run(found.run_id, wait)
    except PlatformError as error:
        # Unknown there, or nobody answers: the gates will say so themselves where it matters.
        if error.reason == "NOT_CAUGHT_UP":
            raise


def _promote(request: pb.PromoteRequest) -> Flow[PromotionOutcome]:
    def translate(answer: pb.PromoteResponse) -> PromotionOutcome:
        return PromotionOutcome(
            promotion=promotion_of(answer.promotion) if answer.HasField("promotion") else None,
            rules=rules_of(answer.rules),
            allowed=answer.allowed,
            version=request.version,
            previous_version=answer.previous_version,
        )

    return ask(PROMOTIONS, "Promote", request, translate)


def rollback(
    name: str, alias: str, stage: str, *, reason: str, expected_current: int | None, dry_run: bool
) -> Flow[PromotionOutcome]:
    """Promote the version that the target held before.

    Raises:
        PromotionRefused: a rule is not met.
    """
    request = pb.RollbackRequest(
        name=name,
        target=target_to_proto(alias, stage),
        reason=reason,
        expected_current=expected_current,
        dry_run=dry_run,
    )
    try:
        return (yield from _rollback(request))
    except FailedPrecondition as error:
        raise (yield from _refusal(error, request)) from error


def _rollback(request: pb.RollbackRequest) -> Flow[PromotionOutcome]:
    def translate(answer: pb.RollbackResponse) -> PromotionOutcome:
        made = promotion_of(answer.promotion) if answer.HasField("promotion") else None
        return PromotionOutcome(
            promotion=made,
            rules=rules_of(answer.rules),
            allowed=answer.allowed,
            version=answer.version,
            previous_version=None if made is None else made.previous_version,
        )

    return ask(PROMOTIONS, "Rollback", request, translate)


def _refusal(
    error: FailedPrecondition, request: pb.PromoteRequest | pb.RollbackRequest
) -> Flow[FailedPrecondition]:
    """The error with the rules' outcomes, which an error has no room for: a dry run tells them."""
    if error.reason != PROMOTION_REFUSED:
        yield from ()
        return error
    try:
        if isinstance(request, pb.PromoteRequest):
            again = pb.PromoteRequest()
            again.CopyFrom(request)
            again.dry_run = True
            outcome = yield from _promote(again)
        else:
            back = pb.RollbackRequest()
            back.CopyFrom(request)
            back.dry_run = True
            outcome = yield from _rollback(back)
    except PlatformError:
        # The refusal itself says enough; what failed now is only its explanation.
        return PromotionRefused(error.message, metadata=error.metadata)
    return PromotionRefused(error.message, rules=outcome.rules, metadata=error.metadata)


def list_promotions_request(
    name: str, alias: str, stage: str, page_size: int
) -> Flow[pb.ListPromotionsRequest]:
    """The first page's request."""
    target = target_to_proto(alias, stage) if alias or stage else None
    return ready(pb.ListPromotionsRequest(name=name, target=target, page_size=page_size))


def promotion_page(request: pb.ListPromotionsRequest) -> Flow[Page[Promotion]]:
    """One page of the promotions of a model; its token goes into the request for the next."""
    return ask(
        PROMOTIONS,
        "ListPromotions",
        request,
        lambda a: Page(tuple(promotion_of(item) for item in a.promotions), a.next_page_token),
    )


# Requests for approval


def request_promotion(
    name: str, version: int | str, alias: str, stage: str, *, reason: str, expected_current: int | None
) -> Flow[PromotionRequest]:
    """Ask for approval of a promotion."""
    target = target_to_proto(alias, stage)
    request = pb.RequestPromotionRequest(
        name=name,
        version=(yield from version_number(name, version)),
        target=target,
        reason=reason,
        expected_current=expected_current,
    )
    made: PromotionRequest = yield from ask(
        PROMOTIONS, "RequestPromotion", request, lambda a: request_of(a.request)
    )
    return made


def decide(request_id: str, *, approve: bool, role: str, comment: str) -> Flow[DecisionOutcome]:
    """Approve or reject a request."""

    def translate(answer: pb.DecideRequestResponse) -> DecisionOutcome:
        made = promotion_of(answer.promotion) if answer.HasField("promotion") else None
        return DecisionOutcome(request_of(answer.request), made)

    request = pb.DecideRequestRequest(request_id=request_id, approve=approve, role=role, comment=comment)
    return ask(PROMOTIONS, "DecideRequest", request, translate)


def get_request(request_id: str) -> Flow[PromotionRequest]:
    """Read one request."""
    request = pb.GetRequestRequest(request_id=request_id)
    return ask(PROMOTIONS, "GetRequest", request, lambda a: request_of(a.request))


def list_requests_request(name: str, state: str, page_size: int) -> Flow[pb.ListRequestsRequest]:
    """The first page's request."""
    number: Any = number_of("state", state.upper(), REQUEST_STATE_NUMBERS) if state else None
    return ready(pb.ListRequestsRequest(name=name, state=number, page_size=page_size))


def request_page(request: pb.ListRequestsRequest) -> Flow[Page[PromotionRequest]]:
    """One page of requests; its token goes into the request for the next."""
    return ask(
        PROMOTIONS,
        "ListRequests",
        request,
        lambda a: Page(tuple(request_of(item) for item in a.requests), a.next_page_token),
    )

"""Requests for approval: what waits, what was said, and one's own word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, get_args

from runstream_common.errors import InvalidArgument, NotFound, PlatformError

from runstream_gateway.console.forms import acting, read_form
from runstream_gateway.console.visitors import visitor_of
from runstream_gateway.control.approvals import Approvals, RequestState
from runstream_gateway.control.promotions import PromoteOrder, Promotions

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages
    from runstream_gateway.control.approvals import ApprovalRequest
    from runstream_gateway.control.promotions import Judgement

PAGE_SIZE: Final = 50
STATES: Final = get_args(RequestState)
_DONE: Final = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}


class RequestPages:
    """Pages about requests."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._approvals = Approvals(backends)
        self._promotions = Promotions(backends)

    async def index(self, request: Request) -> Response:
        """Requests, newest first: those that wait, unless others are asked for."""
        state = request.query_params.get("state", "PENDING")
        if state not in {*STATES, "ALL"}:
            raise InvalidArgument.of("state", f"must be one of {', '.join(STATES)} and ALL")
        page = await self._approvals.page(
            request.query_params.get("model", ""),
            None if state == "ALL" else cast("RequestState", state),
            page_size=PAGE_SIZE,
            page_token=request.query_params.get("page_token", ""),
        )
        model = request.query_params.get("model", "")
        return self._pages.show(
            request, "requests.html", page=page, state=state, states=[*STATES, "ALL"], model=model
        )

    async def one(self, request: Request) -> Response:
        """One request with what the gates say now."""
        found = await self._approvals.get(request.path_params["request"])
        return self._pages.show(request, "request.html", item=found, judgement=await self._judged(found))

    async def decide(self, request: Request) -> Response:
        """Approve, reject or withdraw, then show the request."""
        form, request_id = await read_form(request), request.path_params["request"]
        word = request.path_params["word"]
        if word not in _DONE:
            raise NotFound("a request is approved, rejected or withdrawn", reason="NO_SUCH_WORD")
        try:
            actor = acting(visitor_of(request))
            comment, role = form.one("comment"), form.one("role")
            if word == "withdraw":
                await self._approvals.withdraw(request_id, actor=actor, comment=comment)
            else:
                await self._approvals.decide(
                    request_id, approve=word == "approve", actor=actor, role=role, comment=comment
                )
        except PlatformError as error:
            found = await self._approvals.get(request_id)
            judged = await self._judged(found)
            return self._pages.refused(request, error, "request.html", item=found, judgement=judged)
        return self._pages.onwards(self._pages.at("requests", request_id, done=_DONE[word]))

    async def _judged(self, item: ApprovalRequest) -> Judgement | None:
        """What the rules say of a request that is open; None when it is not, or its version is gone."""
        if item.state not in {"PENDING", "APPROVED"}:
            return None
        order = PromoteOrder(version=item.version, target=item.target, request_id=item.request_id)
        try:
            return await self._promotions.promote(item.name, order, actor=item.actor, dry_run=True)
        except PlatformError:
            return None

"""The first page: is everything well, how far behind is what, what waits for somebody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runstream_common.errors import PlatformError

from runstream_gateway.console.pages import is_part
from runstream_gateway.control.approvals import Approvals
from runstream_gateway.control.statuses import Statuses

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages


class Overview:
    """State of the deployment."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._statuses = Statuses(backends)
        self._approvals = Approvals(backends)

    async def show(self, request: Request) -> Response:
        """The page, or only its state for the refresh."""
        status, pending = await asyncio.gather(self._statuses.all(), self._pending())
        template = "overview_state.html" if is_part(request) else "overview.html"
        return self._pages.show(request, template, status_of=status, pending=pending)

    async def _pending(self) -> int | None:
        """How many requests wait; None when the registry cannot be asked, which the state tells."""
        try:
            return len((await self._approvals.page(state="PENDING", page_size=100)).requests)
        except PlatformError:
            return None

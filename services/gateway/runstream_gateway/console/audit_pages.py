"""The audit trail: searched, and its chains recomputed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from runstream_gateway.control.audit import Audit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages

PAGE_SIZE: Final = 50


class AuditPages:
    """Pages about the audit trail."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._audit = Audit(backends)

    async def index(self, request: Request) -> Response:
        """Entries, newest first: of a model, of a chain, or all."""
        query = request.query_params
        model, chain = query.get("model", "").strip(), query.get("chain", "").strip()
        page = await self._audit.page(
            model, chain, page_size=PAGE_SIZE, page_token=query.get("page_token", "")
        )
        return self._pages.show(
            request, "audit.html", page=page, model=model, chain=chain, report=None, pretty=_pretty
        )

    async def verify(self, request: Request) -> Response:
        """Recompute one chain or all."""
        chain = request.query_params.get("chain", "").strip()
        report = await self._audit.verify(chain)
        return self._pages.show(request, "verification.html", report=report, chain=chain)


def _pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False) if text else ""

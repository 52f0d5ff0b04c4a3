"""Models, their versions, and promoting them: gates checked first, then promoted, asked for or rolled back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from runstream_common.errors import PlatformError

from runstream_gateway.console.forms import acting, read_form, whole_number
from runstream_gateway.console.pages import is_part
from runstream_gateway.console.targets import read_target
from runstream_gateway.console.visitors import visitor_of
from runstream_gateway.control.approvals import Approvals, NewRequest
from runstream_gateway.control.models import Models
from runstream_gateway.control.promotions import PromoteOrder, Promotions, RollbackOrder

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages

PAGE_SIZE: Final = 50
HISTORY_SIZE: Final = 20
NOBODY: Final = "console"
"""Who checks gates before they have said their name; nothing is recorded of it."""


class ModelPages:
    """Pages about models."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._models = Models(backends)
        self._promotions = Promotions(backends)
        self._approvals = Approvals(backends)

    async def index(self, request: Request) -> Response:
        """Models by name."""
        sought, token = request.query_params.get("q", "").strip(), request.query_params.get("page_token", "")
        page = await self._models.page(sought, page_size=PAGE_SIZE, page_token=token)
        return self._pages.show(request, "models.html", page=page, sought=sought)

    async def one(self, request: Request) -> Response:
        """A model; with a version and a target also what the gates say, alone when htmx asks."""
        name = request.path_params["model"]
        checked = await self._checked(request, name)
        if is_part(request):
            return self._pages.show(request, "gates.html", name=name, **checked)
        return self._pages.show(request, "model.html", **await self._model(request, name), **checked)

    async def promote(self, request: Request) -> Response:
        """Promote, then show the model."""

        async def order(name: str, version: int, target: str, reason: str, actor: str) -> None:
            wanted = PromoteOrder(version=version, target=read_target(target), reason=reason)
            await self._promotions.promote(name, wanted, actor=actor)

        return await self._do(request, order, "promoted")

    async def request(self, request: Request) -> Response:
        """Ask for approval, then show the model."""

        async def order(name: str, version: int, target: str, reason: str, actor: str) -> None:
            wanted = NewRequest(name=name, version=version, target=read_target(target), reason=reason)
            await self._approvals.create(wanted, actor=actor)

        return await self._do(request, order, "requested")

    async def roll_back(self, request: Request) -> Response:
        """Bring back what a target held before, then show the model."""
        form, name = await read_form(request), request.path_params["model"]
        try:
            wanted = RollbackOrder(target=read_target(form.one("target")), reason=form.one("reason"))
            await self._promotions.roll_back(name, wanted, actor=acting(visitor_of(request)))
        except PlatformError as error:
            return await self._again(request, name, error, {"asked_version": "", "asked_target": ""})
        return self._pages.onwards(self._pages.at("models", name, done="rolled-back"))

    async def _do(self, request: Request, order: Any, done: str) -> Response:
        form, name = await read_form(request), request.path_params["model"]
        version, target = form.one("version"), form.one("target")
        try:
            number, actor = whole_number(version, "version"), acting(visitor_of(request))
            await order(name, number, target, form.one("reason"), actor)
        except PlatformError as error:
            return await self._again(request, name, error, {"asked_version": version, "asked_target": target})
        return self._pages.onwards(self._pages.at("models", name, done=done))

    async def _again(
        self, request: Request, name: str, error: PlatformError, asked: dict[str, str]
    ) -> Response:
        values = {"judgement": None, "only_approvals_missing": False, **asked}
        return self._pages.refused(request, error, "model.html", **await self._model(request, name), **values)

    async def _model(self, request: Request, name: str) -> dict[str, Any]:
        token = request.query_params.get("page_token", "")
        model, versions, promotions, waiting = await asyncio.gather(
            self._models.get(name),
            self._models.versions(name, page_size=PAGE_SIZE, page_token=token),
            self._promotions.page(name, page_size=HISTORY_SIZE),
            self._approvals.page(name, "PENDING", page_size=HISTORY_SIZE),
        )
        return {
            "model": model,
            "versions": versions,
            "promotions": promotions,
            "requests": waiting,
            "targets": list(dict.fromkeys(item.target.path for item in promotions.promotions)),
        }

    async def _checked(self, request: Request, name: str) -> dict[str, Any]:
        version = request.query_params.get("version", "")
        target = request.query_params.get("target", "")
        asked = {"asked_version": version, "asked_target": target}
        if not version or not target:
            return {**asked, "judgement": None, "only_approvals_missing": False}
        order = PromoteOrder(version=whole_number(version, "version"), target=read_target(target))
        actor = visitor_of(request).actor or NOBODY
        judgement = await self._promotions.promote(name, order, actor=actor, dry_run=True)
        failed = {rule.kind for rule in judgement.rules if not rule.passed}
        return {**asked, "judgement": judgement, "only_approvals_missing": failed == {"approvals"}}

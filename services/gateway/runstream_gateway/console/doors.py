"""Every route of the console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_gateway.console.api_page import ApiPage
from runstream_gateway.console.audit_pages import AuditPages
from runstream_gateway.console.dead_letter_pages import DeadLetterPages
from runstream_gateway.console.event_page import EventPage
from runstream_gateway.console.forms import MAX_FORM_BYTES
from runstream_gateway.console.model_pages import ModelPages
from runstream_gateway.console.overview import Overview
from runstream_gateway.console.pages import CONSOLE, Pages
from runstream_gateway.console.policy_pages import PolicyPages
from runstream_gateway.console.preferences import Preferences
from runstream_gateway.console.request_pages import RequestPages
from runstream_gateway.console.static_files import static_file
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Show


@dataclass(frozen=True, slots=True)
class _Page:
    method: str
    path: str
    show: Show


def console_routes(backends: Backends, *, prefix: str, document: Mapping[str, Any]) -> list[Route]:
    """Routes of all pages.

    Args:
        backends: the services.
        prefix: path under which the gateway is served.
        document: OpenAPI document of our own API.
    """
    pages = Pages(prefix)
    shown = [*_readings(pages, backends, document), *_changes(pages, backends)]
    return [
        Route("GET", f"{CONSOLE}/static/{{name}}", static_file),
        *(
            Route(page.method, CONSOLE + page.path, pages.guarded(page.show), max_body_bytes=MAX_FORM_BYTES)
            for page in shown
        ),
    ]


def _readings(pages: Pages, backends: Backends, document: Mapping[str, Any]) -> list[_Page]:
    overview, letters, models = (
        Overview(pages, backends),
        DeadLetterPages(pages, backends),
        ModelPages(pages, backends),
    )
    requests, policies, audit = (
        RequestPages(pages, backends),
        PolicyPages(pages, backends),
        AuditPages(pages, backends),
    )
    return [
        _Page("GET", "", overview.show),
        _Page("GET", "/", overview.show),
        _Page("GET", "/events", EventPage(pages).show),
        _Page("GET", "/dead-letters", letters.index),
        _Page("GET", "/dead-letters/{topic}/{group}/{id}", letters.one),
        _Page("GET", "/models", models.index),
        _Page("GET", "/models/{model}", models.one),
        _Page("GET", "/requests", requests.index),
        _Page("GET", "/requests/{request}", requests.one),
        _Page("GET", "/policies", policies.index),
        _Page("GET", "/new-policy", policies.new),
        _Page("GET", "/policies/{policy}", policies.one),
        _Page("GET", "/policies/{policy}/edit", policies.edit),
        _Page("GET", "/audit", audit.index),
        _Page("GET", "/audit/verification", audit.verify),
        _Page("GET", "/api", ApiPage(pages, document).show),
    ]


def _changes(pages: Pages, backends: Backends) -> list[_Page]:
    preferences, letters, models = (
        Preferences(pages),
        DeadLetterPages(pages, backends),
        ModelPages(pages, backends),
    )
    requests, policies = RequestPages(pages, backends), PolicyPages(pages, backends)
    return [
        _Page("POST", "/actor", preferences.actor),
        _Page("POST", "/theme", preferences.theme),
        _Page("POST", "/dead-letters/{topic}", letters.settle),
        _Page("POST", "/models/{model}/promotions", models.promote),
        _Page("POST", "/models/{model}/requests", models.request),
        _Page("POST", "/models/{model}/rollbacks", models.roll_back),
        _Page("POST", "/requests/{request}/{word}", requests.decide),
        _Page("POST", "/policies", policies.store),
        _Page("POST", "/policies/{policy}/delete", policies.delete),
    ]

"""Events as they happen; the script follows our API's stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_common.bus.topics import RUN_LOGGED

from runstream_gateway.control.topics import topic_list

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.console.pages import Pages

STREAM: Final = "/api/runstream/v1/events"


class EventPage:
    """Which topics to follow."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """The page; without a choice every topic but metrics, of which there are far more than of the rest."""
        topics = topic_list().topics
        asked = set(request.query_params.getlist("topic"))
        chosen = [topic.name for topic in topics if topic.name in asked]
        if not chosen:
            chosen = [topic.name for topic in topics if topic.name != RUN_LOGGED.name]
        return self._pages.show(
            request,
            "events.html",
            topics=topics,
            chosen=chosen,
            stream=self._pages.site(STREAM),
            origin=f"{request.url.scheme}://{request.url.netloc}",
        )

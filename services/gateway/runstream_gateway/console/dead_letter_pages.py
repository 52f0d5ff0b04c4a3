"""Messages that could not be applied: listed, shown, sent once more, forgotten."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from runstream_common.errors import InvalidArgument

from runstream_gateway.console.forms import acting, read_form
from runstream_gateway.console.visitors import visitor_of
from runstream_gateway.control.dead_letters import DeadLetters
from runstream_gateway.control.topics import topic_list

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.console.pages import Pages
    from runstream_gateway.control.dead_letters import WholeDeadLetter

DEFAULT_TOPIC: Final = "run-logged"
PAGE_SIZE: Final = 50
SHOWN_BYTES: Final = 1024


class DeadLetterPages:
    """Pages about parked messages."""

    def __init__(self, pages: Pages, backends: Backends) -> None:
        self._pages = pages
        self._letters = DeadLetters(backends)

    async def index(self, request: Request) -> Response:
        """Parked messages of a topic, oldest first."""
        topic = request.query_params.get("topic") or DEFAULT_TOPIC
        group, token = request.query_params.get("group", ""), request.query_params.get("page_token", "")
        page = await self._letters.page(topic, group, page_size=PAGE_SIZE, page_token=token)
        topics = topic_list().topics
        return self._pages.show(
            request, "dead_letters.html", topics=topics, topic=topic, group=group, page=page
        )

    async def one(self, request: Request) -> Response:
        """One message with headers and value."""
        at = request.path_params
        whole = await self._letters.get(at["topic"], at["group"], at["id"])
        return self._pages.show(request, "dead_letter.html", letter=whole.dead_letter, value=_readable(whole))

    async def settle(self, request: Request) -> Response:
        """Replay or discard the messages that were ticked."""
        form, topic = await read_form(request), request.path_params["topic"]
        actor = acting(visitor_of(request))
        action = form.one("action")
        if action not in {"replay", "discard"}:
            raise InvalidArgument.of("action", "must be replay or discard")
        chosen = _by_group(form.all("letter"))
        if not chosen:
            raise InvalidArgument.of("letter", "tick at least one message")
        for group, ids in chosen.items():
            if action == "replay":
                await self._letters.replay(topic, group, ids)
            else:
                await self._letters.discard(topic, group, ids, actor=actor)
        done = "replayed" if action == "replay" else "discarded"
        return self._pages.onwards(self._pages.at("dead-letters", topic=topic, done=done))


def _by_group(names: list[str]) -> dict[str, list[str]]:
    """Ids by group, of values "group/id"."""
    chosen: dict[str, list[str]] = {}
    for name in names:
        group, separator, letter_id = name.rpartition("/")
        if not separator or not group or not letter_id:
            raise InvalidArgument.of("letter", "is not a message of the list")
        chosen.setdefault(group, []).append(letter_id)
    return chosen


def _readable(whole: WholeDeadLetter) -> str:
    """JSON over several lines, or the beginning of a hex dump."""
    if whole.value_json:
        return json.dumps(json.loads(whole.value_json), indent=2, ensure_ascii=False)
    shown = base64.b64decode(whole.value_base64)[:SHOWN_BYTES]
    lines = [shown[start : start + 16].hex(" ") for start in range(0, len(shown), 16)]
    return "\n".join(lines + (["…"] if whole.dead_letter.value_size_bytes > len(shown) else []))

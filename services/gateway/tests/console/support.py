"""Visitors of the console, and something for them to see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from services.gateway.tests.control.support import Api, add_model, champion, unique
from tests.support.dead_letters import park

if TYPE_CHECKING:
    from tests.support.service_stack import ServiceStack

TOKEN = re.compile(r'name="token" value="([^"]+)"')


class Somebody:
    """Opens pages and sends their forms, as a browser without scripts does."""

    def __init__(self, gateway_url: str, actor: str = "") -> None:
        self.root = f"{gateway_url}/console"
        self.session = requests.Session()
        if actor:
            self.session.cookies.set("runstream_actor", quote(actor))

    def open(self, path: str = "", *, status: int = 200, **query: Any) -> str:
        """The text of a page."""
        answer = self.session.get(f"{self.root}{path}", params=query, timeout=60)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return unescape(answer.text)

    def send(self, path: str, *, status: int = 200, page: str = "", **fields: Any) -> str:
        """Send a form with the token of a page; the text of the page that this leads to."""
        fields["token"] = TOKEN.findall(self.open(page))[0]
        answer = self.session.post(f"{self.root}{path}", data=fields, timeout=60)
        assert answer.status_code == status, answer.text
        return unescape(answer.text)


@dataclass(frozen=True)
class Story:
    """What there is to see."""

    model: str
    policy: str
    request_id: str
    letter: str
    letter_path: str


def happened(stack: ServiceStack) -> Story:
    """Make something to see: version 1 was promoted before a policy wanted approvals, and version 2 waits for one."""
    api, model, policy = Api(stack.gateway.url), unique("fraud"), unique("champions")
    add_model(stack, model, versions=3, tags={"reviewed": "yes"})
    api.post(f"/models/{model}/promotions", champion(1, reason="the first that works"))
    document = {
        "models": model,
        "targets": "alias/champion",
        "rules": [{"tag": {"key": "reviewed", "value": "yes"}}],
    }
    api.put(f"/policies/{policy}", {"document": document})
    document["rules"].append({"approvals": {"count": 1, "roles": ["lead"]}})
    document["roles"] = [{"name": "lead", "members": ["grace"]}]
    api.put(f"/policies/{policy}", {"document": document, "reason": "four eyes"})
    asked = api.post("/promotion-requests", {"name": model, **champion(2), "reason": "fewer false alarms"})
    [letter] = park(stack, 1)
    return Story(
        model=model,
        policy=policy,
        request_id=asked["request_id"],
        letter=letter.key,
        letter_path=f"/dead-letters/run-logged/metadata/{letter.id}",
    )

"""Pages of the console with real data, as they are without scripts."""

from __future__ import annotations

import pytest
import requests

from services.gateway.tests.console.support import Somebody, Story


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("", "Consumer groups"),
        ("/", "Consumer groups"),
        ("/events", "model-promoted"),
        ("/dead-letters", "{letter}"),
        ("/dead-letters?topic=model-promoted", "No dead letters of model-promoted."),
        ("{letter_path}", '"run_id": "{letter}"'),
        ("/models?q={model}", "champion → 1"),
        ("/models?q=no-such-name", "No model has that in its name."),
        ("/models/{model}", "the first that works"),
        ("/models/{model}?version=3&target=alias/champion", "Ask for approval"),
        ("/models/{model}?version=3&target=alias/other", "Promote version 3"),
        ("/models/{model}?version=1&target=alias/champion", "It is there already."),
        ("/requests", "{model} version 2 to alias/champion"),
        ("/requests?state=ALL&model={model}", "fewer false alarms"),
        ("/requests/{request_id}", "0 of 1 approvals"),
        ("/policies", "{policy}"),
        ("/policies/{policy}", "+- approvals:"),
        ("/policies/{policy}?revision=1", "earlier revision"),
        ("/policies/{policy}/edit", "Store revision 3"),
        ("/new-policy", "New policy"),
        ("/audit?model={model}", "alias.promoted"),
        ("/audit/verification?chain=policies", "all is well"),
        ("/api", "/api/runstream/v1/models/{{model}}/promotions"),
        ("/api", "<code>next_page_token</code>"),
    ],
)
def test_a_page_shows_what_there_is(visitor: Somebody, story: Story, path: str, shows: str) -> None:
    page = visitor.open(path.format(**vars(story)))
    assert shows.format(**vars(story)) in page


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/never", 404),
        ("/requests/00000000-0000-4000-8000-000000000000", 404),
        ("/requests?state=LOST", 400),
        ("/policies/never", 404),
        ("/policies/{policy}?revision=x", 400),
        ("/dead-letters?topic=a%20b%00", 400),
        ("/dead-letters/run-logged/metadata/0:999999999", 404),
        ("/models/{model}?version=x&target=alias/champion", 400),
        ("/models/{model}?version=1&target=champion", 400),
        ("/models?page_token=x", 400),
        ("/audit?model=never", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_a_page_too(visitor: Somebody, story: Story, path: str, status: int) -> None:
    assert "<html" in visitor.open(path.format(**vars(story)), status=status)


def test_a_part_is_given_to_htmx_alone(visitor: Somebody, story: Story) -> None:
    for path in ("", f"/models/{story.model}?version=3&target=alias/champion"):
        whole = visitor.open(path)
        part = visitor.session.get(f"{visitor.root}{path}", headers={"HX-Request": "true"}, timeout=60).text
        assert "<html" in whole
        assert "<html" not in part
        assert "<table>" in part


def test_pages_take_no_scripts_but_ours_and_are_not_kept(visitor: Somebody) -> None:
    answer = visitor.session.get(visitor.root, timeout=60)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


def test_files_are_kept_for_good_under_their_version(visitor: Somebody) -> None:
    page = visitor.session.get(visitor.root, timeout=60).text
    start = page.index("/console/static/console.css")
    address = visitor.root.removesuffix("/console") + page[start : page.index('"', start)]
    versioned = requests.get(address, timeout=60)
    assert (versioned.status_code, versioned.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in versioned.headers["cache-control"]
    plain = requests.get(address.partition("?")[0], timeout=60)
    assert plain.headers["cache-control"] == "no-cache"
    assert requests.get(f"{visitor.root}/static/../pages.py", timeout=60).status_code == 404


def test_text_of_others_is_no_markup(gateway_url: str, story: Story) -> None:
    name = "<b>mallory</b>"
    somebody = Somebody(gateway_url, name)
    raw = somebody.session.get(somebody.root, timeout=60).text
    assert name not in raw
    assert "&lt;b&gt;mallory" in raw

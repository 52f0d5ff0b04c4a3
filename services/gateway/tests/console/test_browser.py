"""The console in a real browser: no page may log an error or miss a file, and all of it works by keyboard."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from services.gateway.tests.console.support import Somebody, Story, happened
from services.gateway.tests.control.support import Api, add_model, champion, unique
from tests.support.browser import screenshot, visiting
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES = {
    "overview": "",
    "events": "/events",
    "dead-letters": "/dead-letters",
    "dead-letter": "{letter_path}",
    "models": "/models",
    "model": "/models/{model}?version=3&target=alias/champion",
    "requests": "/requests",
    "request": "/requests/{request_id}",
    "policies": "/policies",
    "policy": "/policies/{policy}",
    "policy-form": "/policies/{policy}/edit",
    "audit": "/audit?model={model}",
    "verification": "/audit/verification?chain=policies",
    "api": "/api",
}


def say_name(page: Page, name: str) -> None:
    page.get_by_label("Acting as").fill(name)
    page.get_by_role("button", name="Set", exact=True).click()
    page.wait_for_load_state()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_and_can_be_read_by_everybody(
    browser: Browser, gateway_url: str, story: Story, name: str
) -> None:
    """No console error and no failed request; contrast of WCAG 2.2 AA (1.4.3) in both themes; names for controls."""
    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto("/console" + PAGES[name].format(**vars(story)))
        assert (page.locator("h1").count(), page.locator("main").count()) == (1, 1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(REPEATED_IDS) == []
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            assert page.evaluate(LOW_CONTRAST) == []
            screenshot(page, f"console-{name}-{theme}")


@pytest.mark.parametrize("name", ["events", "model", "request"])
def test_a_page_can_be_read_on_a_phone_without_scripts(
    browser: Browser, gateway_url: str, story: Story, name: str
) -> None:
    with visiting(browser, gateway_url, java_script=False, width=380) as visit:
        page = visit.page
        page.goto("/console" + PAGES[name].format(**vars(story)))
        shown = {"events": "curl -N", "model": "the first that works", "request": "0 of 1 approvals"}
        assert page.get_by_text(shown[name]).first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_are_chosen_against_the_system(browser: Browser, gateway_url: str) -> None:
    with visiting(browser, gateway_url, dark=True) as visit:
        page = visit.page
        page.goto("/console/models")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="light").click()
        page.wait_for_url("**/console/models")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert light != dark
        page.get_by_role("button", name="auto").click()
        page.wait_for_function(f"getComputedStyle(document.body).backgroundColor === '{dark}'")


def test_the_keyboard_reaches_everything(browser: Browser, gateway_url: str) -> None:
    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto("/console")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert page.get_by_text("Skip to content").bounding_box()["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.goto("/console")
        reached = []
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            if reached[-1] == "Requests":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/requests")
        assert page.locator("nav.main [aria-current]").inner_text() == "Requests"


def test_a_promotion_is_checked_asked_for_and_approved(
    browser: Browser, gateway_url: str, mlflow_stack: ServiceStack
) -> None:
    story = happened(mlflow_stack)
    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto(f"/console/models/{story.model}")
        say_name(page, "ada")
        page.get_by_label("Version", exact=True).select_option("3")
        page.get_by_label("to", exact=True).fill("alias/champion")
        page.get_by_role("button", name="Check the gates").click()
        page.get_by_text("0 of 1 approvals").wait_for()
        page.locator("#gates").get_by_label("Why").fill("even better")
        page.get_by_role("button", name="Ask for approval").click()
        page.get_by_text("Approval is asked for.").wait_for()
        say_name(page, "grace")
        page.get_by_role("link", name="Version 3 to alias/champion").click()
        page.get_by_label("Comment").fill("convincing")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("Your approval is recorded.").wait_for()
        assert page.get_by_text("executed").is_visible()
        screenshot(page, "console-approved")
        page.get_by_role("link", name=story.model).first.click()
        page.get_by_text("champion → version 3").wait_for()


def test_what_cannot_be_undone_is_asked_about(
    browser: Browser, gateway_url: str, mlflow_stack: ServiceStack
) -> None:
    story = happened(mlflow_stack)
    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto(f"/console{story.letter_path}")
        say_name(page, "ada")
        asked: list[str] = []

        def answer(yes: bool) -> None:
            page.once(
                "dialog",
                lambda dialog: (asked.append(dialog.message), dialog.accept() if yes else dialog.dismiss()),
            )
            page.get_by_role("button", name="Discard").click()

        answer(yes=False)
        assert page.url.endswith(story.letter_path)
        answer(yes=True)
        page.get_by_text("The messages are discarded.").wait_for()
        assert asked == ["Discard this message for good?"] * 2
        assert story.letter not in page.content()


def test_events_appear_live_are_filtered_and_wait_while_paused(
    browser: Browser, gateway_url: str, mlflow_stack: ServiceStack
) -> None:
    model = unique("live")
    add_model(mlflow_stack, model)
    api, stop = Api(gateway_url), threading.Event()

    def promote() -> None:
        for version in itertools.cycle((1, 2)):
            if stop.wait(0.05):
                return
            api.post(f"/models/{model}/promotions", champion(version))

    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto("/console/events?topic=model-promoted")
        promoting = threading.Thread(target=promote)
        promoting.start()
        try:
            rows = page.locator("#events li", has_text=model)
            rows.first.wait_for()
            page.get_by_role("button", name="Pause").click()
            page.get_by_text("waiting").wait_for()
            shown = rows.count()
            page.get_by_text("3 waiting").or_(page.get_by_text("4 waiting")).wait_for()
            assert rows.count() == shown
        finally:
            stop.set()
            promoting.join()
        page.get_by_role("button", name="Pause").click()
        page.wait_for_function("shown => document.querySelectorAll('#events li').length > shown", arg=shown)
        rows.first.locator("summary").click()
        assert '"target": "champion"' in rows.first.locator("pre").inner_text()
        screenshot(page, "console-events-live")
        page.get_by_label("Only with").fill("no event has this")
        assert page.locator("#events li:visible").count() == 0
        page.get_by_label("Only with").fill(model)
        assert page.locator("#events li:visible").count() > 0
        page.get_by_role("button", name="Clear").click()
        assert page.locator("#events li").count() == 0


def test_the_overview_stays_current_by_itself(
    browser: Browser, gateway_url: str, mlflow_stack: ServiceStack
) -> None:
    with visiting(browser, gateway_url) as visit:
        page = visit.page
        page.goto("/console")
        tile = page.locator(".tiles div", has_text="Dead letters").locator("dd")
        before = int("".join(filter(str.isdigit, tile.inner_text())))
        tile.locator("a").focus()
        happened(mlflow_stack)
        page.wait_for_function(
            """before => [...document.querySelectorAll('.tiles div')].some((tile) =>
                tile.textContent.includes('Dead letters') && parseInt(tile.querySelector('dd').textContent) > before)""",
            arg=before,
        )
        assert page.evaluate("document.activeElement.id") == "to-letters"


def test_names_are_kept_in_the_browser(gateway_url: str, browser: Browser) -> None:
    with visiting(browser, gateway_url) as visit:
        visit.page.goto("/console/policies")
        say_name(visit.page, "Zoë <z>")
        visit.page.goto("/console/models")
        assert visit.page.get_by_label("Acting as").input_value() == "Zoë <z>"
    assert "Zoë" not in Somebody(gateway_url).open()


LOW_CONTRAST = """() => {
  const numbers = (color) => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(color) && color !== 'transparent') return numbers(color);
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const [one, other] = [luminance(numbers(getComputedStyle(element).color)), luminance(background(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push(`${element.tagName} ${element.className} ${ratio.toFixed(2)}: ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return low;
}"""

NAMELESS = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]
  .filter((item) => item.checkVisibility())
  .filter((item) => !(item.textContent.trim() && item.tagName !== 'SELECT') && !item.labels?.length
    && !item.getAttribute('aria-label') && !item.querySelector('img[alt]:not([alt=""])'))
  .map((item) => item.outerHTML.slice(0, 120))"""

REPEATED_IDS = """() => {
  const ids = [...document.querySelectorAll('[id]')].map((item) => item.id);
  return ids.filter((id, index) => ids.indexOf(id) !== index);
}"""

"""MLflow's own web UI in a real browser, served by the gateway: every page of what is covered works."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from playwright.sync_api import expect

from tests.support.browser import Visit, Watch, running_browser, screenshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext

    from tests.support.service_stack import ServiceStack

EXPERIMENT = "browsed"
# Digits come first in lists by name, whatever other tests have left.
MODEL = "0-browsed-model"
PROMPT = "0-browsed-prompt"

PAGE_TIMEOUT_MS = 30_000
"""The bundle takes seconds of a busy machine's processor; a passing test never waits that long."""

pytestmark = pytest.mark.timeout(300)

# The UI's own question whether there are users; 404 is the answer for "no", also on MLflow's server.
NO_USERS = r"users/current|assistant/"
# Warnings of the bundle about itself, the same on MLflow's server.
BUNDLE = r"console warning|React|DialogContent|defaultProps"


@dataclass(frozen=True)
class Content:
    """What the pages show."""

    url: str
    experiment_id: str
    run_ids: list[str]
    model_id: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The module's Chromium."""
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def content(mlflow_stack: ServiceStack) -> Content:
    """An experiment with runs, files, a logged and a registered model, and a prompt."""
    url = mlflow_stack.gateway.url
    client = MlflowClient(url, url)
    experiment_id = client.create_experiment(EXPERIMENT)
    run_ids = []
    for number in range(3):
        run = client.create_run(experiment_id, run_name=f"run-{number}")
        run_ids.append(run.info.run_id)
        points = [Metric("loss", math.exp(-step / 20) + number / 10, step, step) for step in range(100)]
        client.log_batch(run_ids[-1], metrics=points, params=[Param("rate", str(0.1 * (number + 1)))])
        client.set_terminated(run_ids[-1])
    # The UI compares files of runs only where each has some.
    for run_id in run_ids:
        client.log_text(run_id, "hello from an artifact", "notes/hello.txt")
    client.log_dict(run_ids[0], {"answer": 42}, "answer.json")
    logged = client.create_logged_model(experiment_id, name="browsed-logged", source_run_id=run_ids[0])
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"models:/{logged.model_id}", model_id=logged.model_id)
    client.set_registered_model_alias(MODEL, "champion", "1")
    mlflow.set_tracking_uri(url)
    mlflow.genai.register_prompt(PROMPT, "Say {{word}} nicely.")
    return Content(url, experiment_id, run_ids, logged.model_id)


@pytest.fixture(scope="module")
def window(browser: Browser, content: Content) -> Iterator[BrowserContext]:
    """One browser profile for all pages: the bundle of several megabytes is fetched and compiled once."""
    context = browser.new_context(base_url=content.url, viewport={"width": 1500, "height": 900})
    context.set_default_timeout(PAGE_TIMEOUT_MS)
    expect.set_options(timeout=PAGE_TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def visit(window: BrowserContext) -> Iterator[Visit]:
    """A new page; a console error or a failed request fails the test."""
    page, watch = window.new_page(), Watch()
    watch.allow(NO_USERS)
    watch.allow(BUNDLE)
    watch.attach(page)
    yield Visit(page, watch)
    page.close()
    watch.check()


def _open(visit: Visit, route: str, *texts: str, name: str) -> None:
    """Open a page of the UI and wait until the texts are to be seen."""
    visit.page.goto(f"/#{route}")
    for text in texts:
        expect(visit.page.get_by_text(re.compile(re.escape(text))).first).to_be_visible()
    screenshot(visit.page, f"mlflow-{name}")


def test_experiments_are_listed(visit: Visit) -> None:
    _open(visit, "/experiments", EXPERIMENT, name="experiments")


def test_runs_are_tabled(visit: Visit, content: Content) -> None:
    _open(visit, f"/experiments/{content.experiment_id}/runs", "run-0", "run-1", "run-2", name="runs")


def test_a_run_is_shown(visit: Visit, content: Content) -> None:
    route = f"/experiments/{content.experiment_id}/runs/{content.run_ids[0]}"
    _open(visit, route, "run-0", "rate", "loss", name="run")


def test_a_chart_draws_the_history(visit: Visit, content: Content) -> None:
    route = f"/experiments/{content.experiment_id}/runs/{content.run_ids[0]}/model-metrics"
    with visit.page.expect_response(re.compile("get-history-bulk-interval")) as answer:
        visit.page.goto(f"/#{route}")
    assert len(answer.value.json()["metrics"]) == 100
    expect(visit.page.locator(".js-plotly-plot .scatterlayer path").first).to_be_attached()
    screenshot(visit.page, "mlflow-chart")


def test_a_chart_gains_points_while_a_run_streams(visit: Visit, content: Content) -> None:
    client = MlflowClient(content.url)
    run_id = client.create_run(content.experiment_id, run_name="streaming").info.run_id
    client.log_batch(run_id, metrics=[Metric("live", 1.0, 1, 0), Metric("live", 2.0, 2, 1)])
    visit.page.goto(f"/#/experiments/{content.experiment_id}/runs/{run_id}/model-metrics")
    with visit.page.expect_response(re.compile("get-history-bulk-interval")) as before:
        pass
    assert len(before.value.json()["metrics"]) == 2
    client.log_batch(run_id, metrics=[Metric("live", float(n), n, n) for n in range(2, 50)])
    # The page asks again by itself, every 30 s; a reload asks now.
    with visit.page.expect_response(re.compile("get-history-bulk-interval")) as after:
        visit.page.reload()
    assert len(after.value.json()["metrics"]) == 50
    client.set_terminated(run_id)


def test_an_artifact_is_previewed(visit: Visit, content: Content) -> None:
    route = f"/experiments/{content.experiment_id}/runs/{content.run_ids[0]}/artifacts"
    _open(visit, route, "answer.json", "notes", name="artifacts")
    visit.page.get_by_text("notes").first.click()
    visit.page.get_by_text("hello.txt").first.click()
    expect(visit.page.get_by_text("hello from an artifact").first).to_be_visible()
    screenshot(visit.page, "mlflow-artifact")


def test_runs_are_compared(visit: Visit, content: Content) -> None:
    runs = "[" + ",".join(f'"{run_id}"' for run_id in content.run_ids[:2]) + "]"
    route = f'/compare-runs?runs={runs}&experiments=["{content.experiment_id}"]'
    _open(visit, route, "run-0", "run-1", "rate", name="compare")


def test_logged_models_are_listed_and_shown(visit: Visit, content: Content) -> None:
    _open(visit, f"/experiments/{content.experiment_id}/models", "browsed-logged", name="logged-models")
    _open(
        visit,
        f"/experiments/{content.experiment_id}/models/{content.model_id}",
        content.model_id,
        name="logged-model",
    )


def test_registered_models_are_listed_and_shown(visit: Visit) -> None:
    _open(visit, "/models", MODEL, name="models")
    _open(visit, f"/models/{MODEL}", "champion", name="model")
    visit.watch.allow("path=MLmodel")  # this version has no files
    _open(visit, f"/models/{MODEL}/versions/1", "Version 1", name="model-version")


def test_prompts_are_listed_and_shown(visit: Visit) -> None:
    _open(visit, "/prompts", PROMPT, name="prompts")
    _open(visit, f"/prompts/{PROMPT}", "Say", name="prompt")


def test_an_experiment_is_created(visit: Visit) -> None:
    # 404 is how the page learns that the name is free; the page of a new experiment begins with its traces.
    visit.watch.allow("get-by-name")
    visit.watch.allow("mlflow/traces/")
    visit.page.goto("/#/experiments")
    visit.page.get_by_role("button", name=re.compile("^Create")).first.click()
    visit.page.get_by_placeholder(re.compile("experiment name", re.IGNORECASE)).fill("made in a browser")
    visit.page.get_by_role("button", name="Create", exact=True).last.click()
    expect(visit.page.get_by_text("made in a browser").first).to_be_visible()


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("traces", "Traces are not part of this server yet"),
        ("datasets", "Evaluation datasets are not part of this server yet"),
        ("evaluation-runs", EXPERIMENT),
        ("overview/usage", EXPERIMENT),
    ],
)
def test_pages_of_areas_that_are_not_covered_say_so(
    visit: Visit, content: Content, page: str, says: str
) -> None:
    visit.watch.allow(r"status 501|501 \(|status 404|404 \(")
    visit.page.goto(f"/#/experiments/{content.experiment_id}/{page}")
    expect(visit.page.get_by_text(re.compile(says)).first).to_be_visible()
    assert not re.search(r"Something went wrong|Internal Server Error", visit.page.inner_text("body"))
    screenshot(visit.page, f"mlflow-absent-{page.partition('/')[0]}")

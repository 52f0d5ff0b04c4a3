"""Histories through MLflow's REST API."""

import json
import math
from typing import Any

import numpy as np
import pytest
import requests
from runstream_gateway.mlflow_api.metric_points import NAN_TOKEN, SLICE_POINTS, Points, encode_points

POINTS = 20_000
"""More than are encoded at a time."""


class Histories:
    """A run with histories, and MLflow's endpoints that read them."""

    def __init__(self, url: str) -> None:
        self._api = f"{url}/api/2.0/mlflow/"
        self._ajax = f"{url}/ajax-api/2.0/mlflow/"

    def new_run(self) -> str:
        answer = requests.post(self._api + "runs/create", json={"experiment_id": "0"})
        run_id: str = answer.json()["run"]["info"]["run_id"]
        return run_id

    def log(self, run_id: str, key: str, points: list[tuple[int, int, Any]]) -> None:
        metrics = [
            {"key": key, "step": step, "timestamp": time_ms, "value": value}
            for step, time_ms, value in points
        ]
        for start in range(0, len(metrics), 1_000):
            body = {"run_id": run_id, "metrics": metrics[start : start + 1_000]}
            answer = requests.post(self._api + "runs/log-batch", json=body)
            assert answer.status_code == 200, answer.text

    def get(self, name: str, *, ajax: bool = False, **query: Any) -> requests.Response:
        return requests.get((self._ajax if ajax else self._api) + f"metrics/{name}", params=query)

    def points(self, name: str, *, ajax: bool = False, **query: Any) -> list[dict[str, Any]]:
        answer = self.get(name, ajax=ajax, **query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json().get("metrics", [])
        return found


@pytest.fixture
def histories(gateway_url: str) -> Histories:
    return Histories(gateway_url)


def test_points_come_by_timestamp_step_and_value_and_once(histories: Histories) -> None:
    run_id = histories.new_run()
    histories.log(
        run_id, "m", [(5, 2, 1.0), (1, 3, -0.0), (1, 2, 9.0), (1, 2, 9.0), (1, 2, "NaN"), (1, 2, -1.0)]
    )
    found = histories.points("get-history", run_id=run_id, metric_key="m")
    assert [(p["timestamp"], p["step"], p["value"]) for p in found] == [
        (2, 1, -1.0),
        (2, 1, "NaN"),
        (2, 1, 9.0),
        (2, 5, 1.0),
        (3, 1, 0.0),
    ]
    assert math.copysign(1, found[-1]["value"]) == 1
    assert histories.points("get-history", run_uuid=run_id, metric_key="m") == found


def test_a_long_history_comes_whole(histories: Histories) -> None:
    run_id = histories.new_run()
    histories.log(run_id, "m", [(step, step * 2, step / 8) for step in range(POINTS)])
    found = histories.points("get-history", run_id=run_id, metric_key="m")
    assert [p["step"] for p in found] == list(range(POINTS))
    assert [p["value"] for p in found] == [step / 8 for step in range(POINTS)]
    assert found[0] == {"key": "m", "value": 0.0, "timestamp": 0, "step": 0}

    pages, token = [], ""
    while True:
        query = {"page_token": token} if token else {}
        answer = histories.get(
            "get-history", run_id=run_id, metric_key="m", max_results=9_000, **query
        ).json()
        pages.append(answer["metrics"])
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert [len(page) for page in pages] == [9_000, 9_000, 2_000]
    assert [point for page in pages for point in page] == found


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, "'metric_key'"),
        ({"metric_key": "m", "max_results": 0}, "max_results"),
        ({"metric_key": "m", "max_results": -1}, "max_results"),
        ({"metric_key": "m", "max_results": "x"}, "max_results"),
        ({"metric_key": "m", "page_token": "bad"}, "page_token"),
        ({"metric_key": "m", "run_id": ""}, "'run_id'"),
    ],
)
def test_wrong_questions_are_refused(histories: Histories, query: dict[str, Any], text: str) -> None:
    answer = histories.get("get-history", **{"run_id": histories.new_run(), **query})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert text in answer.json()["message"]


def test_unknown_runs_and_keys_have_no_points(histories: Histories) -> None:
    for run_id in ("nope", "f" * 32, histories.new_run()):
        assert histories.get("get-history", run_id=run_id, metric_key="m").json() == {}
        assert histories.get("get-history", run_id=run_id, metric_key="m", max_results=5).json() == {}
        assert histories.get("get-history-bulk-interval", run_ids=run_id, metric_key="m").json() == {}
        assert histories.get("get-history-bulk", ajax=True, run_id=run_id, metric_key="m").json() == {
            "metrics": []
        }


def test_bulk_answers_the_first_points_by_run_with_bare_nan(histories: Histories) -> None:
    first, second = sorted([histories.new_run(), histories.new_run()])
    histories.log(first, "m", [(0, 1, 1.0), (1, 2, "NaN"), (2, 3, 3.0)])
    histories.log(second, "m", [(0, 1, 4.0), (1, 2, "Infinity")])
    answer = histories.get("get-history-bulk", ajax=True, run_id=[second, first, second], metric_key="m")
    assert '"value":NaN' in answer.text
    found = answer.json()["metrics"]
    assert [p["run_id"] for p in found] == [first] * 3 + [second] * 2
    assert [p["step"] for p in found] == [0, 1, 2, 0, 1]
    assert found[-1]["value"] == 1.7976931348623157e308
    few = histories.points(
        "get-history-bulk", ajax=True, run_id=[first, second], metric_key="m", max_results=4
    )
    assert [(p["run_id"], p["step"]) for p in few] == [(first, 0), (first, 1), (first, 2), (second, 0)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"metric_key": "m"}, "at least one run_id"),
        ({"run_id": "a"}, "must specify a metric_key"),
        ({"run_id": ["a"] * 101, "metric_key": "m"}, "more than 100 run_ids"),
        ({"run_id": "a", "metric_key": "m", "max_results": "x"}, "max_results"),
        ({"run_id": "a", "metric_key": "m", "max_results": -1}, "max_results"),
    ],
)
def test_wrong_bulk_questions_are_refused(histories: Histories, query: dict[str, Any], text: str) -> None:
    answer = histories.get("get-history-bulk", ajax=True, **query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert text in answer.json()["message"]


def test_samples_keep_the_first_of_each_part_and_the_last(histories: Histories) -> None:
    """What MLflow 3.17 answers for 1,000 points."""
    long, short = histories.new_run(), histories.new_run()
    histories.log(long, "m", [(step, step, float(step)) for step in range(1_000)])
    histories.log(short, "m", [(step, step, "NaN") for step in range(3)])
    ten = [*range(0, 900, 100), 999]

    def steps(**query: Any) -> list[tuple[str, int]]:
        found = histories.points("get-history-bulk-interval", metric_key="m", **query)
        return [(p["run_id"], p["step"]) for p in found]

    of_short = [(short, step) for step in range(3)]
    assert steps(run_ids=[short, long], max_results=10) == of_short + [(long, step) for step in ten]
    assert steps(run_ids=[short, short]) == of_short * 2
    assert steps(run_ids=long, max_results=1) == [(long, 999)]
    assert steps(run_ids=long, start_step=7, end_step=9) == [(long, 7), (long, 8), (long, 9)]
    point = histories.points("get-history-bulk-interval", ajax=True, run_ids=short, metric_key="m")[0]
    assert point == {"key": "m", "value": "NaN", "timestamp": 0, "step": 0, "run_id": short}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"metric_key": "m"}, "'run_ids'"),
        ({"run_ids": "a"}, "'metric_key'"),
        ({"run_ids": ["a"] * 101, "metric_key": "m"}, "at most 100 run_ids. Received 101"),
        ({"run_ids": "a", "metric_key": "m", "max_results": 0}, "between 1 and 2500"),
        ({"run_ids": "a", "metric_key": "m", "max_results": 2_501}, "between 1 and 2500"),
        ({"run_ids": "a", "metric_key": "m", "max_results": "x"}, "'max_results'"),
        ({"run_ids": "a", "metric_key": "m", "start_step": 1}, "both must be specified"),
        ({"run_ids": "a", "metric_key": "m", "start_step": 3, "end_step": 1}, "end_step must be greater"),
    ],
)
def test_wrong_sample_questions_are_refused(histories: Histories, query: dict[str, Any], text: str) -> None:
    answer = histories.get("get-history-bulk-interval", **query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert text in answer.json()["message"]


def test_points_are_encoded_as_proto_json_is() -> None:
    values = np.array([1.0, np.nan, 1e22, -2.5e-7])
    steps = np.arange(4)
    points = Points("r", 'quote " and ü', steps, steps + 2**60, values)
    assert json.loads(b"[" + encode_points(points, with_run_id=True) + b"]") == [
        {"key": 'quote " and ü', "value": value, "timestamp": 2**60 + step, "step": step, "run_id": "r"}
        for step, value in enumerate([1.0, "NaN", 1e22, -2.5e-7])
    ]
    assert b'"value":NaN,' in encode_points(points, with_run_id=False, nan=NAN_TOKEN)


def test_long_points_fall_into_parts() -> None:
    count = SLICE_POINTS * 2 + 1
    points = Points("r", "m", np.arange(count), np.arange(count), np.zeros(count))
    assert [len(part.values) for part in points.parts()] == [SLICE_POINTS, SLICE_POINTS, 1]

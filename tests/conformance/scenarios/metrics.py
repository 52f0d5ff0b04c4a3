"""Metrics: which point is the latest, histories, odd numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlflow.entities import Metric

if TYPE_CHECKING:
    from tests.conformance.world import World

_ODD = [0.0, -0.0, 1e308, 5e-324, -1.5, math.nan, math.inf, -math.inf, 1e-7, 123456789012345680.0]


def _run(world: World) -> str:
    run_id: str = world.client.create_run(world.experiment(), run_name="r").info.run_id
    return run_id


def _points(world: World, run_id: str, key: str) -> list[list[object]]:
    return [[p.value, p.timestamp, p.step] for p in world.client.get_metric_history(run_id, key)]


def scenario_latest(world: World) -> None:
    run_id = _run(world)
    written = {
        "later step": [(1.0, 10, 1), (2.0, 5, 2)],
        "lower step last": [(1.0, 10, 5), (2.0, 20, 4)],
        "same step and later time": [(1.0, 20, 1), (2.0, 10, 1)],
        "same step and time and greater value": [(3.0, 10, 1), (2.0, 10, 1)],
        "nan beats less": [(-1.0, 10, 1), (math.nan, 10, 1)],
        "nan loses to more": [(2.0, 10, 1), (math.nan, 10, 1)],
        "negative step": [(1.0, 10, -5), (2.0, 10, -6)],
    }
    for key, points in written.items():
        for value, timestamp, step in points:
            world.client.log_metric(run_id, key, value, timestamp=timestamp, step=step)
        world.see(f"{key} history", _points(world, run_id, key))
    world.see("latest", world.client.get_run(run_id).data.metrics)


def scenario_odd_numbers(world: World) -> None:
    run_id = _run(world)
    for number, value in enumerate(_ODD):
        world.client.log_metric(run_id, f"m{number}", value, timestamp=number, step=number)
        world.client.log_metric(run_id, "all", value, timestamp=number, step=number)
    world.see("latest", world.client.get_run(run_id).data.metrics)
    world.see("history", _points(world, run_id, "all"))
    path = "/api/2.0/mlflow/metrics/get-history"
    world.send("on the wire", "GET", path, params={"run_id": run_id, "metric_key": "all"})


def scenario_repeats(world: World) -> None:
    run_id = _run(world)
    points = [
        Metric("m", 1.0, 1, 1),
        Metric("m", 1.0, 1, 1),
        Metric("m", 2.0, 1, 1),
        Metric("m", math.nan, 1, 1),
    ]
    world.client.log_batch(run_id, metrics=points)
    world.client.log_batch(run_id, metrics=points[::-1])
    world.see("history", _points(world, run_id, "m"))


def scenario_order_and_pages(world: World) -> None:
    run_id = _run(world)
    points = [Metric("m", float(n % 7), 100 - n % 10, n % 13) for n in range(60)]
    world.client.log_batch(run_id, metrics=points)
    world.see("whole", _points(world, run_id, "m"))
    path = "/api/2.0/mlflow/metrics/get-history"
    base = {"run_id": run_id, "metric_key": "m"}
    first = world.send("first page lacks the token", "GET", path, params={**base, "max_results": 1_000})
    token, pages = None, []
    for _ in range(10):
        answer = _get(world, path, {**base, "max_results": 25, **({"page_token": token} if token else {})})
        pages.append([point["step"] for point in answer.get("metrics", [])])
        token = answer.get("next_page_token")
        if not token:
            break
    world.see("pages", [pages, first is not None])
    for size in (0, -1):
        world.send(f"size {size}", "GET", path, params={**base, "max_results": size})
    world.send("unknown key", "GET", path, params={**base, "metric_key": "nothing"})
    world.send("no key", "GET", path, params={"run_id": run_id})
    world.send("no run", "GET", path, params={"metric_key": "m"})
    world.send("run_uuid", "GET", path, params={"run_uuid": run_id, "metric_key": "m", "max_results": 100})


def scenario_sampled(world: World) -> None:
    experiment_id = world.experiment()
    runs = []
    for number, count in enumerate((1_000, 10, 1)):
        run_id = world.client.create_run(experiment_id, run_name=f"r{number}").info.run_id
        world.client.log_batch(run_id, metrics=[Metric("m", float(n), n + 1, n) for n in range(count)])
        runs.append(run_id)
    path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
    for what, extra in {
        "ten": {"max_results": 10},
        "one": {"max_results": 1},
        "all": {},
        "many": {"max_results": 2_500},
        "range": {"max_results": 5, "start_step": 100, "end_step": 200},
        "empty range": {"start_step": 5_000, "end_step": 6_000},
        "half a range": {"start_step": 5},
        "turned": {"start_step": 9, "end_step": 5},
        "too many": {"max_results": 2_501},
        "none": {"max_results": 0},
    }.items():
        for label, ids in (("first", runs[:1]), ("every", runs)):
            world.send(f"{what}, {label}", "GET", path, params={"run_ids": ids, "metric_key": "m", **extra})
    world.send("unknown run", "GET", path, params={"run_ids": ["0" * 32], "metric_key": "m"})
    world.send("no runs", "GET", path, params={"metric_key": "m"})
    world.send("no key", "GET", path, params={"run_ids": runs})
    world.send("101 runs", "GET", path, params={"run_ids": ["0" * 32] * 101, "metric_key": "m"})
    bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    world.send("bulk", "GET", bulk, params={"run_id": runs[1], "metric_key": "m"})
    few = {"run_id": runs[:1], "metric_key": "m", "max_results": 7}
    world.send("bulk, few", "GET", bulk, params=few)


def scenario_refusals(world: World) -> None:
    run_id = _run(world)
    for key in ("a/b", "a b", "ä", "$", "a//b", "..", "k" * 251, "", "a:b", "x" * 250):
        world.refused(f"key {key[:4]!r} {len(key)}", lambda k=key: world.client.log_metric(run_id, k, 1.0))
    path = "/api/2.0/mlflow/runs/log-metric"
    good = {"run_id": run_id, "key": "m", "value": 1.0, "timestamp": 1}
    for what, change in {
        "good": {},
        "no value": {"value": None},
        "no key": {"key": None},
        "no time": {"timestamp": None},
        "text value": {"value": "x"},
        "number as text": {"value": "1.5"},
        "nan": {"value": "NaN"},
        "infinity": {"value": "Infinity"},
        "-infinity": {"value": "-Infinity"},
        "bool": {"value": True},
        "list": {"value": [1]},
        "negative time": {"timestamp": -1},
        "text time": {"timestamp": "5"},
        "word time": {"timestamp": "soon"},
        "huge step": {"step": 2**63 - 1},
        "negative step": {"step": -(2**63)},
        "number as key": {"key": 5},
        "number as run": {"run_id": 5},
        "no run": {"run_id": None},
        "run_uuid": {"run_id": None, "run_uuid": run_id},
        "unknown field": {"nothing": 1},
    }.items():
        body = {key: value for key, value in {**good, **change}.items() if value is not None}
        world.send(what, "POST", path, json=body)
    world.see("stored", world.client.get_run(run_id).data.metrics)


def _get(world: World, path: str, params: dict[str, object]) -> dict[str, object]:
    import requests

    answer: dict[str, object] = requests.get(world.url + path, params=params, timeout=60).json()
    return answer

"""runs/search: grammar, order, pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric, Param, RunTag

if TYPE_CHECKING:
    from tests.conformance.world import World

_RUNS = [
    {"m": 1.0, "n": 5.0, "p": {"lr": "0.1", "opt": "adam"}, "t": {"team": "A", "with space": "x"}},
    {"m": 2.0, "n": math.nan, "p": {"lr": "0.01", "opt": "SGD"}, "t": {"team": "a"}},
    {"m": math.nan, "p": {"lr": "10"}, "t": {"team": "b%", "quote": "it's"}},
    {"m": -3.5, "n": 0.0, "p": {"opt": "adam_w"}, "t": {}},
    {"m": math.inf, "p": {}, "t": {"team": "B"}},
    {"p": {"lr": "2"}, "t": {"odd.dotted.key": "1"}},
    {"m": -math.inf, "n": 5.0, "p": {"lr": "0.1"}, "t": {"team": ""}},
]


def populate(world: World) -> str:
    """An experiment with runs of every kind; returns its id."""
    experiment_id = world.experiment("search")
    for number, content in enumerate(_RUNS):
        run = world.client.create_run(experiment_id, start_time=1_000 * number, run_name=f"run {number}")
        metrics = [Metric(key, content[key], 1, 0) for key in ("m", "n") if key in content]
        params = [Param(key, value) for key, value in content["p"].items()]
        tags = [RunTag(key, value) for key, value in {**content["t"], "number": str(number)}.items()]
        world.client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=tags)
        if number % 3 == 0:
            world.client.set_terminated(
                run.info.run_id, ("FINISHED", "FAILED", "KILLED")[number % 2], end_time=9_000 + number
            )
    return experiment_id


_FILTERS = [
    "", "metrics.m > 1", "metrics.m >= 1", "metrics.m = 1", "metrics.m != 1", "metrics.m < 0", "metric.m <= -3.5", "metrics.m > 1e0",
    "metrics.m > .5", "metrics.m > -1", "metrics.n = 5 AND metrics.m = 1.0", "metrics.`m` > 0", 'metrics."m" > 0',
    "params.lr = '0.1'", "params.lr != '0.1'", "params.opt LIKE 'adam%'", "params.opt ILIKE 'ADAM%'", "params.opt like 'adam_w'",
    "parameters.lr = \"0.1\"", "param.lr = '0.1' and tag.team = 'A'", "params.lr IS NULL", "params.lr IS NOT NULL", "tags.team IS NULL",
    "tags.team = 'A'", "tags.team ILIKE 'a'", "tags.team LIKE 'b%'", "tags.team != 'A'", "tags.`with space` = 'x'",
    "tags.\"with space\" = 'x'", "tags.odd.dotted.key = '1'", "tags.quote = \"it's\"", "tags.team = ''", "tags.nothing != 'x'",
    "status = 'RUNNING'", "attributes.status != 'RUNNING'", "attr.status = 'FINISHED'", "run.status LIKE 'F%'", "status ILIKE 'failed'",
    "run_name = 'run 1'", "`run name` = 'run 1'", "attributes.`Run name` LIKE 'run%'", "run_name ILIKE 'RUN 2'",
    "start_time > 1000", "attributes.start_time = 1000", "created >= 2000", "end_time > 0", "end_time != 9000", "start_time <= 1000",
    "user_id = 'nobody'", "artifact_uri LIKE '%artifacts'", "metrics.m > 0 AND", "METRICS.m > 0", "Metrics.m > 0", "attributes.STATUS = 'OK'",
    "metrics.m > '1'", "params.lr = 0.1", "params.lr > '0'", "metrics.m LIKE '1'", "status > 'A'", "status = RUNNING", "nothing = 'x'",
    "attributes.nothing = 'x'", "foo.bar = 'x'", "metrics.m", "metrics.m >", "> 1", "1 < metrics.m", "metrics.m > 1 OR metrics.m < 0",
    "(metrics.m > 1)", "NOT metrics.m > 1", "metrics.m BETWEEN 1 AND 2", "metrics.m > 1;", "   ", "metrics.m > 1 AND AND metrics.m > 2",
    "metrics.m IS NULL", "status IS NULL", "params.lr IN ('0.1')", "status IN ('RUNNING')", "params.'lr' = '0.1'",
    "tags.team = 'A' , tags.team = 'b'", "run_id IN ()", "run_id IN 'x'", "run_id IN (x)", "run_id NOT IN ('x')", "metrics.m == 1", "metrics.m <> 1",
    "tags.team = 'unclosed", "tags.`team = 'A'", "tags.quote = 'it''s'", "params.lr = 'a\\'b'", "metrics.m > 1 -- comment", "datasets.nothing = '1'",
    "tags.team != 'x' AND tags.team != 'A' AND metrics.m != 2", "dataset.name = 'x'", "run_id = 'x'", "metrics.m = 1 AND metrics.m = 2",
]  # fmt: skip

_ORDERS = [
    [], ["metrics.m ASC"], ["metrics.m DESC"], ["metrics.n"], ["params.lr ASC"], ["params.lr DESC"], ["tags.team"], ["tag.team DESC"],
    ["start_time ASC"], ["attributes.start_time DESC", "metrics.m"], ["run_name DESC"], ["status"], ["end_time ASC"], ["end_time DESC"],
    ["`run name`"], ["created desc"], ["metrics.`m` asc"], ["user_id"], ["tags.`with space` ASC"],
    ["nothing"], ["metrics.m UP"], ["metrics.m ASC DESC"], [""], ["metrics"], ["foo.bar"], ["dataset.name"], ["metrics.m, params.lr"],
]  # fmt: skip


def scenario_filters(world: World) -> None:
    experiment_id = populate(world)
    for text in _FILTERS:
        world.refused(
            text, lambda f=text: sorted(r.info.run_name for r in world.client.search_runs([experiment_id], f))
        )


def scenario_refusal_texts(world: World) -> None:
    experiment_id = populate(world)
    for text in (
        "metrics.m > '1'",
        "params.lr = 0.1",
        "nothing = 'x'",
        "foo.bar = 'x'",
        "status IN ('RUNNING')",
        "metrics.m >",
    ):
        world.refused(text, lambda f=text: list(world.client.search_runs([experiment_id], f)), text=True)
    world.refused(
        "order", lambda: list(world.client.search_runs([experiment_id], order_by=["nothing"])), text=True
    )
    world.refused(
        "size", lambda: list(world.client.search_runs([experiment_id], max_results=50_001)), text=True
    )


def scenario_orders(world: World) -> None:
    experiment_id = populate(world)
    for order in _ORDERS:
        world.refused(
            f"{order}",
            lambda o=order: [r.info.run_name for r in world.client.search_runs([experiment_id], order_by=o)],
        )


def scenario_order_of_equals(world: World) -> None:
    experiment_id = world.experiment()
    for _ in range(6):
        world.client.create_run(experiment_id, start_time=5, run_name="same")
    for order in ([], ["run_name"], ["start_time DESC"], ["metrics.nothing DESC"], ["run_id DESC"]):
        found = [r.info.run_id for r in world.client.search_runs([experiment_id], order_by=order)]
        world.see(f"{order}", [found == sorted(found), found == sorted(found, reverse=True)])


def scenario_pages(world: World) -> None:
    experiment_id = populate(world)
    token, pages = None, []
    while True:
        page = world.client.search_runs(
            [experiment_id], max_results=3, page_token=token, order_by=["run_name"]
        )
        pages.append([r.info.run_name for r in page])
        token = page.token
        if not token:
            break
    world.see("pages", pages)
    for size in (0, -1, 50_001, 50_000):
        world.refused(
            f"size {size}", lambda n=size: len(world.client.search_runs([experiment_id], max_results=n))
        )
    for token in ("nonsense", "bm9uc2Vuc2U=", "{}"):
        world.refused(
            f"token {token}", lambda t=token: list(world.client.search_runs([experiment_id], page_token=t))
        )
    world.see("no experiments", list(world.client.search_runs([])))
    world.see("unknown", list(world.client.search_runs(["987654321"])))
    world.refused("no number", lambda: list(world.client.search_runs(["abc"])))


def scenario_data_frame(world: World) -> None:
    experiment_id = populate(world)
    with world.active():
        frame = mlflow.search_runs([experiment_id], order_by=["attributes.run_name ASC"])
        world.see("columns", sorted(frame.columns))
        wanted = [c for c in sorted(frame.columns) if c not in ("run_id", "artifact_uri", "experiment_id")]
        world.see("rows", frame[wanted].astype(str).to_dict("records"))
        by_name = mlflow.search_runs(experiment_names=[world.name("search")], filter_string="metrics.m > 0")
        world.see("by name", sorted(by_name["tags.mlflow.runName"]))
        as_list = mlflow.search_runs(
            [experiment_id], output_format="list", max_results=2, order_by=["run_name DESC"]
        )
        world.see("list", [r.info.run_name for r in as_list])


def scenario_over_rest(world: World) -> None:
    experiment_id = populate(world)
    path = "/api/2.0/mlflow/runs/search"
    for what, body in {
        "plain": {"experiment_ids": [experiment_id], "order_by": ["run_name"]},
        "camel": {"experimentIds": [experiment_id], "orderBy": ["run_name"], "maxResults": 1},
        "both": {"experimentIds": [experiment_id], "experiment_ids": [experiment_id]},
        "text": {"experiment_ids": "1"}, "nothing": {},
        "filter is a number": {"experiment_ids": [experiment_id], "filter": 5},
        "view": {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1, "order_by": ["run_name"]},
        "view number": {"experiment_ids": [experiment_id], "run_view_type": 2}, "odd view": {"experiment_ids": [], "run_view_type": "X"},
        "size as text": {"experiment_ids": [experiment_id], "max_results": "1", "order_by": ["run_name"]},
        "size word": {"experiment_ids": [experiment_id], "max_results": "many"},
    }.items():  # fmt: skip
        world.send(what, "POST", path, json=body)
    world.send("no body", "POST", path)
    world.send("broken", "POST", path, data="{", headers={"Content-Type": "application/json"})
    world.send(
        "form", "POST", path, data="a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    world.send("twice encoded", "POST", path, json='{"experiment_ids": [], "max_results": 0}')

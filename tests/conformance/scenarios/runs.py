"""Runs, params, tags, inputs and outputs through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_life(world: World) -> None:
    experiment_id = world.experiment()
    run = world.client.create_run(
        experiment_id, start_time=1_000, tags={"a": "1", "mlflow.user": "me"}, run_name="first"
    )
    world.see("created", run)
    run_id = run.info.run_id
    world.see("read", world.client.get_run(run_id))
    world.client.update_run(run_id, status="SCHEDULED")
    world.see("scheduled", world.client.get_run(run_id).info)
    world.client.update_run(run_id, name="second")
    world.see("renamed", world.client.get_run(run_id))
    world.client.update_run(run_id, name="")
    world.see("no name", world.client.get_run(run_id).info.run_name)
    world.client.set_tag(run_id, "mlflow.runName", "third")
    world.see("renamed by tag", world.client.get_run(run_id).info)
    world.client.set_terminated(run_id, "FAILED", end_time=2_000)
    world.see("failed", world.client.get_run(run_id).info)
    world.client.update_run(run_id, status="RUNNING")
    world.see("running again", world.client.get_run(run_id).info)
    world.client.update_run(run_id, status="KILLED")
    world.see("killed", world.client.get_run(run_id).info)
    world.client.set_terminated(run_id, end_time=3_000)
    world.see("finished", world.client.get_run(run_id).info)


def scenario_names(world: World) -> None:
    experiment_id = world.experiment()
    named = world.client.create_run(experiment_id, start_time=1, tags={"mlflow.runName": "by tag"})
    world.see("by tag", [named.info.run_name, named.data.tags])
    generated = world.client.create_run(experiment_id, start_time=1)
    world.see(
        "generated",
        [generated.info.run_name, generated.data.tags == {"mlflow.runName": generated.info.run_name}],
    )
    world.refused(
        "two names",
        lambda: world.client.create_run(experiment_id, tags={"mlflow.runName": "a"}, run_name="b"),
        text=True,
    )
    same = world.client.create_run(experiment_id, start_time=1, tags={"mlflow.runName": "a"}, run_name="a")
    world.see("same name twice", same.info.run_name)
    world.see(
        "no start time",
        world.client.create_run(experiment_id, start_time=0, run_name="n").info.start_time == 0,
    )


def scenario_deleted(world: World) -> None:
    experiment_id = world.experiment()
    run_id = world.client.create_run(experiment_id, run_name="r").info.run_id
    world.client.log_param(run_id, "p", 1)
    world.client.delete_run(run_id)
    world.client.delete_run(run_id)
    world.see("deleted", world.client.get_run(run_id))
    writes = {
        "metric": lambda: world.client.log_metric(run_id, "m", 1.0),
        "param": lambda: world.client.log_param(run_id, "q", 1),
        "tag": lambda: world.client.set_tag(run_id, "t", "1"),
        "untag": lambda: world.client.delete_tag(run_id, "mlflow.runName"),
        "batch": lambda: world.client.log_batch(run_id, metrics=[Metric("m", 1.0, 1, 0)]),
        "empty batch": lambda: world.client.log_batch(run_id),
        "status": lambda: world.client.set_terminated(run_id),
        "inputs": lambda: world.client.log_inputs(run_id, datasets=[_input("d", "1")]),
    }
    for what, write in writes.items():
        world.refused(what, write)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        found = world.client.search_runs([experiment_id], run_view_type=view)
        world.see(f"view {view}", [item.info.run_name for item in found])
    world.client.restore_run(run_id)
    world.client.restore_run(run_id)
    world.client.log_metric(run_id, "m", 2.0, timestamp=5, step=1)
    world.see("restored", world.client.get_run(run_id))
    for what, call in {
        "delete": world.client.delete_run,
        "restore": world.client.restore_run,
        "get": world.client.get_run,
        "end": world.client.set_terminated,
    }.items():
        world.refused(f"{what} unknown", lambda c=call: c("0" * 32))
    world.see("history of unknown", world.client.get_metric_history("0" * 32, "m"))
    world.refused("metric of unknown", lambda: world.client.log_metric("0" * 32, "m", 1.0))
    world.refused("param of unknown", lambda: world.client.log_param("0" * 32, "m", 1.0))
    world.refused("batch of unknown", lambda: world.client.log_batch("0" * 32, params=[Param("a", "1")]))
    world.refused("odd id", lambda: world.client.get_run("not a run"))


def scenario_params(world: World) -> None:
    run_id = world.client.create_run(world.experiment(), run_name="r").info.run_id
    for number, value in enumerate(
        (1, 0.1, True, None, "", " spaced ", "ünïcode", [1, 2], {"a": 1}, "x" * 6_000)
    ):
        world.client.log_param(run_id, f"p{number}", value)
    world.client.log_param(run_id, "cut", "y" * 6_001)
    world.refused("cut again", lambda: world.client.log_param(run_id, "cut", "y" * 7_000))
    world.see("params", world.client.get_run(run_id).data.params)
    world.client.log_param(run_id, "same", "1")
    world.client.log_param(run_id, "same", 1)
    world.refused("changed", lambda: world.client.log_param(run_id, "same", 2), text=True)
    world.refused(
        "changed in batch",
        lambda: world.client.log_batch(run_id, params=[Param("new", "1"), Param("same", "3")]),
    )
    world.refused(
        "twice in a batch", lambda: world.client.log_batch(run_id, params=[Param("t", "1"), Param("t", "1")])
    )
    world.see("nothing of it", sorted(world.client.get_run(run_id).data.params))
    for key in (
        "a/b",
        "a b",
        "a.b-c:d_e",
        "ä",
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "a$",
        "",
        "k" * 250,
        "k" * 251,
        ".",
        "a/.",
    ):
        world.refused(f"key {key[:5]!r} {len(key)}", lambda k=key: world.client.log_param(run_id, k, 1))


def scenario_tags(world: World) -> None:
    run_id = world.client.create_run(world.experiment(), run_name="r").info.run_id
    for value in ("v", "", 1, None, "z" * 8_000, "w" * 8_001):
        world.client.set_tag(run_id, "tag", value)
        world.see(f"set {str(value)[:3]}", world.client.get_run(run_id).data.tags)
    world.client.log_batch(run_id, tags=[RunTag("b", "1"), RunTag("b", "2"), RunTag("c", "3")])
    world.see("batch", world.client.get_run(run_id).data.tags)
    world.client.delete_tag(run_id, "b")
    world.refused("delete missing", lambda: world.client.delete_tag(run_id, "b"), text=True)
    world.see("left", world.client.get_run(run_id).data.tags)
    for key in ("a b/c", "é", "x$y", "k" * 251, ""):
        world.refused(f"key {key[:4]!r}", lambda k=key: world.client.set_tag(run_id, k, "v"))


def scenario_batches(world: World) -> None:
    run_id = world.client.create_run(world.experiment(), run_name="r").info.run_id
    world.client.log_batch(run_id)
    metrics = [Metric(f"m{n % 10}", float(n), n, n) for n in range(1_000)]
    world.client.log_batch(run_id, metrics=metrics)
    world.see("thousand", world.client.get_run(run_id).data.metrics)
    world.client.log_batch(
        run_id, params=[Param(f"p{n}", str(n)) for n in range(100)], tags=[RunTag("t", "1")] * 100
    )
    world.see("params", len(world.client.get_run(run_id).data.params))
    for what, batch in {
        "metrics": {"metrics": [*metrics, Metric("m", 1.0, 1, 1)]},
        "params": {"params": [Param(f"q{n}", "1") for n in range(101)]},
        "tags": {"tags": [RunTag(f"q{n}", "1") for n in range(101)]},
        "all": {"metrics": metrics, "params": [Param("one", "more")]},
    }.items():
        world.send(
            f"too many {what}",
            "POST",
            "/api/2.0/mlflow/runs/log-batch",
            json={"run_id": run_id, **{key: [dict(item) for item in items] for key, items in batch.items()}},
        )
    world.refused(
        "one bad key",
        lambda: world.client.log_batch(
            run_id, metrics=[Metric("good", 1.0, 1, 1), Metric("bad$", 1.0, 1, 1)], params=[Param("pp", "1")]
        ),
    )
    data = world.client.get_run(run_id).data
    world.see("nothing of it", ["good" in data.metrics, "pp" in data.params])
    world.refused(
        "conflict",
        lambda: world.client.log_batch(
            run_id, metrics=[Metric("late", 1.0, 1, 1)], params=[Param("p1", "x")]
        ),
    )
    world.see("no metric of it", world.client.get_metric_history(run_id, "late"))


def scenario_inputs_and_outputs(world: World) -> None:
    experiment_id = world.experiment()
    run_id = world.client.create_run(experiment_id, run_name="r").info.run_id
    world.client.log_inputs(
        run_id, datasets=[_input("train", "d1", "training"), _input("eval", "d2", "eval")]
    )
    world.client.log_inputs(run_id, datasets=[_input("train", "d1", "other")])
    world.see("inputs", world.client.get_run(run_id).inputs)
    model = world.client.create_logged_model(experiment_id, name="m", source_run_id=run_id)
    world.client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    world.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    world.see("both", [world.client.get_run(run_id).inputs, world.client.get_run(run_id).outputs])
    found = world.client.search_runs([experiment_id])[0]
    world.see("found", [found.inputs, found.outputs])
    world.refused("long name", lambda: world.client.log_inputs(run_id, datasets=[_input("n" * 501, "d")]))
    world.refused("long digest", lambda: world.client.log_inputs(run_id, datasets=[_input("n", "d" * 37)]))
    for text in (
        "dataset.name = 'train'",
        "datasets.digest = 'd2'",
        "dataset.context = 'eval'",
        "dataset.name LIKE 't%'",
        "dataset.name IN ('eval', 'x')",
        "dataset.name != 'train'",
        "dataset.context = 'other'",
    ):
        world.refused(
            text, lambda f=text: [r.info.run_name for r in world.client.search_runs([experiment_id], f)]
        )
    world.send(
        "summaries",
        "POST",
        "/ajax-api/2.0/mlflow/experiments/search-datasets",
        json={"experiment_ids": [experiment_id]},
    )


def _input(name: str, digest: str, context: str = "") -> DatasetInput:
    tags = [InputTag("mlflow.data.context", context)] if context else []
    return DatasetInput(Dataset(name, digest, "local", "file.csv", schema="{}", profile='{"rows": 1}'), tags)

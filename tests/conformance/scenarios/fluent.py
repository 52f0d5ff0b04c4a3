"""The fluent API, as training code uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from click.testing import CliRunner
from mlflow.cli import cli

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_training_loop(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("loop"))
        with mlflow.start_run(run_name="r", tags={"k": "v"}, description="about it") as run:
            mlflow.log_params({"lr": 0.1, "epochs": 3})
            for step in range(50):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
                mlflow.log_metrics({"a": step, "b": -step}, step=step)
            mlflow.set_tags({"x": 1, "y": [1, 2]})
            mlflow.log_text("hello", "hello.txt")
        found = mlflow.get_run(run.info.run_id)
        world.see("params", found.data.params)
        world.see("metrics", found.data.metrics)
        world.see("status", found.info.status)
        world.see("tags", sorted(found.data.tags))
        history = world.client.get_metric_history(run.info.run_id, "loss")
        world.see("history", [[p.step, p.value] for p in sorted(history, key=lambda p: p.step)])
        last = mlflow.last_active_run()
        world.see("last", last.info.run_id == run.info.run_id)


def scenario_many_at_once(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("many"))
        with mlflow.start_run(run_name="r") as run:
            mlflow.log_metrics({f"m{n}": float(n) for n in range(2_500)}, step=1)
            mlflow.log_params({f"p{n}": n for n in range(250)})
            mlflow.set_tags({f"t{n}": n for n in range(250)})
        data = mlflow.get_run(run.info.run_id).data
        world.see(
            "counts", [len(data.metrics), len(data.params), len([t for t in data.tags if t.startswith("t")])]
        )


def scenario_asynchronous(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("async"))
        with mlflow.start_run(run_name="r") as run:
            for step in range(200):
                mlflow.log_metric("m", float(step), step=step, synchronous=False)
            mlflow.log_params({"a": 1}, synchronous=False)
            mlflow.flush_async_logging()
        world.see("steps", sorted(p.step for p in world.client.get_metric_history(run.info.run_id, "m")))
        world.see("params", mlflow.get_run(run.info.run_id).data.params)


def scenario_nested(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("nested"))
        with mlflow.start_run(run_name="parent") as parent:
            for number in range(3):
                with mlflow.start_run(run_name=f"child {number}", nested=True):
                    mlflow.log_metric("m", number)
        children = mlflow.search_runs(
            filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
            order_by=["metrics.m DESC"],
            output_format="list",
        )
        world.see("children", [[c.info.run_name, c.data.metrics] for c in children])
        world.see("parent", mlflow.get_parent_run(children[0].info.run_id).info.run_name)


def scenario_failures(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("failing"))
        try:
            with mlflow.start_run(run_name="r") as run:
                raise RuntimeError("broken")
        except RuntimeError:
            world.see("status", mlflow.get_run(run.info.run_id).info.status)
        with mlflow.start_run(run_id=run.info.run_id):
            mlflow.log_metric("again", 1)
        world.see("resumed", mlflow.get_run(run.info.run_id).info.status)
        mlflow.delete_run(run.info.run_id)
        world.refused("deleted", lambda: mlflow.start_run(run_id=run.info.run_id))
        world.client.delete_experiment(mlflow.get_experiment_by_name(world.name("failing")).experiment_id)
        world.refused("deleted experiment", lambda: mlflow.set_experiment(world.name("failing")))


def scenario_inputs(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("inputs"))
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
        with mlflow.start_run(run_name="r") as run:
            mlflow.log_input(
                mlflow.data.from_pandas(frame, source="data.csv", name="frame", targets="y"),
                context="training",
            )
            mlflow.log_input(
                mlflow.data.from_numpy(np.arange(6.0).reshape(2, 3), name="array"),
                context="eval",
                tags={"k": "v"},
            )
        inputs = mlflow.get_run(run.info.run_id).inputs
        world.see(
            "inputs", sorted(([i.dataset, i.tags] for i in inputs.dataset_inputs), key=lambda i: i[0].name)
        )


def scenario_command_line(world: World) -> None:
    experiment_id = world.experiment("cli")
    run = world.client.create_run(experiment_id, run_name="r")
    world.client.log_text(run.info.run_id, "hello", "a/b.txt")

    def command(*words: str) -> list[object]:
        done = CliRunner().invoke(cli, words, env={"MLFLOW_TRACKING_URI": world.url})
        return [done.exit_code, done.output]

    with world.active():
        world.see("runs list", command("runs", "list", "--experiment-id", experiment_id))
        world.see("describe", json.loads(str(command("runs", "describe", "--run-id", run.info.run_id)[1])))
        world.see("artifacts list", command("artifacts", "list", "-r", run.info.run_id, "-a", "a"))
        world.see("create", command("experiments", "create", "-n", world.name("made"))[0])
        world.see("get", command("experiments", "get", "-x", experiment_id)[0])
        world.see(
            "download",
            command("artifacts", "download", "-r", run.info.run_id, "-a", "a", "-d", str(world.folder))[0],
        )
        world.see("file", (world.folder / "a" / "b.txt").read_text())
        world.see("delete", command("runs", "delete", "--run-id", run.info.run_id)[0])
        world.see("restore", command("runs", "restore", "--run-id", run.info.run_id)[0])

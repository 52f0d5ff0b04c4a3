"""Logged models through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_life(world: World) -> None:
    experiment_id = world.experiment()
    run_id = world.client.create_run(experiment_id, run_name="r").info.run_id
    model = world.client.create_logged_model(
        experiment_id, name="m", source_run_id=run_id, tags={"t": "1"}, params={"p": "1"}, model_type="Agent"
    )
    world.see("created", model)
    world.see("ready", world.client.finalize_logged_model(model.model_id, "READY"))
    world.see("tagged", world.client.set_logged_model_tags(model.model_id, {"t": "2", "u": "x"}))
    world.client.delete_logged_model_tag(model.model_id, "u")
    world.refused("missing tag", lambda: world.client.delete_logged_model_tag(model.model_id, "u"))
    world.client.log_model_params(model.model_id, {"q": "2"})
    world.refused("param again", lambda: world.client.log_model_params(model.model_id, {"q": "3"}))
    world.refused("param same", lambda: world.client.log_model_params(model.model_id, {"q": "2"}))
    world.client.log_metric(run_id, "acc", 0.5, timestamp=1, step=1, model_id=model.model_id)
    world.client.log_metric(
        run_id, "acc", 0.6, timestamp=2, step=2, model_id=model.model_id, dataset_name="d", dataset_digest="1"
    )
    world.client.log_batch(
        run_id, metrics=[Metric("acc", 0.7, 3, 3, model_id=model.model_id), Metric("own", 1.0, 1, 1)]
    )
    found = world.client.get_logged_model(model.model_id)
    world.see("metrics", sorted(([m.key, m.value, m.step, m.dataset_name] for m in found.metrics), key=repr))
    world.see("of the run", world.client.get_run(run_id).data.metrics)
    world.refused(
        "unknown model", lambda: world.client.log_metric(run_id, "x", 1.0, model_id="m-" + "0" * 32)
    )
    world.client.delete_logged_model(model.model_id)
    world.refused("deleted", lambda: world.client.get_logged_model(model.model_id))
    world.client.delete_logged_model(model.model_id)
    for what, call in {
        "get": world.client.get_logged_model, "delete": world.client.delete_logged_model,
        "finalize": lambda i: world.client.finalize_logged_model(i, "READY"), "tag": lambda i: world.client.set_logged_model_tags(i, {"a": "1"}),
    }.items():  # fmt: skip
        world.refused(f"{what} unknown", lambda c=call: c("m-" + "0" * 32))


def scenario_names(world: World) -> None:
    experiment_id = world.experiment()
    world.see("generated", bool(world.client.create_logged_model(experiment_id).name))
    for name in ("a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "", "ä b"):
        world.refused(
            f"name {name[:4]!r}", lambda n=name: world.client.create_logged_model(experiment_id, name=n).name
        )
    world.refused("no experiment", lambda: world.client.create_logged_model("987654321", name="m"))


def scenario_search(world: World) -> None:
    experiment_id = world.experiment()
    run_id = world.client.create_run(experiment_id, run_name="r").info.run_id
    for number in range(4):
        model = world.client.create_logged_model(
            experiment_id,
            name=f"m{number}",
            tags={"t": str(number % 2)},
            params={"p": str(number)},
            source_run_id=run_id,
        )
        if number < 3:
            world.client.log_metric(run_id, "acc", number / 10, step=1, timestamp=1, model_id=model.model_id)
            world.client.log_metric(
                run_id,
                "acc",
                1 - number / 10,
                step=2,
                timestamp=2,
                model_id=model.model_id,
                dataset_name="d",
                dataset_digest="1",
            )
        if number == 2:
            world.client.finalize_logged_model(model.model_id, "READY")
    for text in (
        None, "name = 'm1'", "name != 'm1'", "name LIKE 'm%'", "name ILIKE 'M2'", "attributes.name = 'm0'", "params.p = '2'", "tags.t = '1'",
        "tags.t != '1'", "metrics.acc > 0.15", "metrics.acc >= 0.9", "model_type = ''", f"source_run_id = '{run_id}'", "status = '2'", "status = 'READY'",
        "creation_timestamp > 0", "name IN ('m0', 'm3')", "name NOT IN ('m0')", "params.p = '1' AND tags.t = '1'", "name > 'm'", "name = x", "name", "  ",
        "tags.t = '1' OR tags.t = '0'", "metrics.acc = 'x'", "params.p > '1'",
    ):  # fmt: skip
        world.refused(
            f"filter {text}",
            lambda f=text: sorted(m.name for m in world.client.search_logged_models([experiment_id], f)),
        )
    for order in (
        [{"field_name": "name"}], [{"field_name": "name", "ascending": False}], [{"field_name": "metrics.acc", "ascending": False}],
        [{"field_name": "metrics.acc", "dataset_name": "d", "dataset_digest": "1"}], [{"field_name": "creation_timestamp"}],
        [{"field_name": "nothing"}], [{"field_name": "params.p"}],
    ):  # fmt: skip
        world.refused(
            f"order {order}",
            lambda o=order: [m.name for m in world.client.search_logged_models([experiment_id], order_by=o)],
        )
    for datasets in ([{"dataset_name": "d", "dataset_digest": "1"}], [{"dataset_name": "other"}]):
        world.refused(
            f"datasets {datasets}",
            lambda d=datasets: sorted(
                m.name
                for m in world.client.search_logged_models([experiment_id], "metrics.acc > 0.85", datasets=d)
            ),
        )
    by_name = [{"field_name": "name"}]
    first = world.client.search_logged_models([experiment_id], max_results=3, order_by=by_name)
    second = world.client.search_logged_models(
        [experiment_id], max_results=3, order_by=by_name, page_token=first.token
    )
    world.see("pages", [[m.name for m in first], [m.name for m in second], second.token])
    world.refused(
        "token of another query",
        lambda: world.client.search_logged_models([experiment_id], "name = 'x'", page_token=first.token),
    )


def scenario_active_model(world: World) -> None:
    with world.active():
        mlflow.set_experiment(world.name("active"))
        model = mlflow.create_external_model(name="agent", params={"a": "1"})
        world.see("external", [model.name, model.status, model.params])
        found = mlflow.search_logged_models(output_format="list")
        world.see("found", [[m.name, m.status] for m in found])
        frame = mlflow.search_logged_models()
        world.see("columns", sorted(frame.columns))

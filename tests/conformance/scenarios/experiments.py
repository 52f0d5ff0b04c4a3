"""Experiments through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.entities import ViewType

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_life(world: World) -> None:
    name = world.name("life")
    experiment_id = world.client.create_experiment(name, tags={"team": "vision", "empty": ""})
    world.see("created", world.client.get_experiment(experiment_id))
    world.see("by name", world.client.get_experiment_by_name(name))
    world.see("unknown name", world.client.get_experiment_by_name(world.name("nothing")))
    world.client.set_experiment_tag(experiment_id, "team", "speech")
    world.client.set_experiment_tag(experiment_id, "unicode", "π≈3.14, ünïcode")
    world.client.rename_experiment(experiment_id, world.name("renamed"))
    world.see("renamed", world.client.get_experiment(experiment_id))
    world.client.rename_experiment(experiment_id, world.name("renamed"))
    world.client.delete_experiment(experiment_id)
    world.see("deleted", world.client.get_experiment(experiment_id))
    world.see("deleted by name", world.client.get_experiment_by_name(world.name("renamed")))
    world.refused("delete twice", lambda: world.client.delete_experiment(experiment_id))
    world.refused("tag deleted", lambda: world.client.set_experiment_tag(experiment_id, "k", "v"))
    world.refused("rename deleted", lambda: world.client.rename_experiment(experiment_id, world.name("x")))
    world.refused("run in deleted", lambda: world.client.create_run(experiment_id))
    world.refused("name stays taken", lambda: world.client.create_experiment(world.name("renamed")))
    world.client.restore_experiment(experiment_id)
    world.see("restored", world.client.get_experiment(experiment_id))
    world.refused("restore twice", lambda: world.client.restore_experiment(experiment_id))


def scenario_default(world: World) -> None:
    found = world.see("default", world.client.get_experiment("0"))
    world.see("default name", found.name)
    world.see("its location", found.artifact_location)


def scenario_refusals(world: World) -> None:
    taken = world.name("taken")
    world.client.create_experiment(taken)
    world.refused("taken", lambda: world.client.create_experiment(taken))
    world.refused("empty", lambda: world.client.create_experiment(""))
    world.refused("long", lambda: world.client.create_experiment("n" * 501))
    world.see(
        "longest",
        len(world.client.get_experiment(world.client.create_experiment(world.name("n" * 480))).name),
    )
    world.refused("unknown", lambda: world.client.get_experiment("123456789"))
    world.refused("no number", lambda: world.client.get_experiment("abc"))
    world.refused("delete unknown", lambda: world.client.delete_experiment("123456789"))
    world.refused("restore unknown", lambda: world.client.restore_experiment("123456789"))
    other = world.experiment("other")
    world.refused("rename onto another", lambda: world.client.rename_experiment(other, taken))
    world.refused("rename to nothing", lambda: world.client.rename_experiment(other, ""))
    world.refused("long tag key", lambda: world.client.set_experiment_tag(other, "k" * 251, "v"))
    world.refused("long tag value", lambda: world.client.set_experiment_tag(other, "k", "v" * 20_001))
    world.refused("missing tag", lambda: world.client.delete_experiment_tag(other, "nothing"))
    world.see("after", world.client.get_experiment(other).tags)


def scenario_locations(world: World) -> None:
    for number, location in enumerate(
        [
            "s3://bucket/prefix",
            "mlflow-artifacts:/own/place",
            "gs://b/p",
            "dbfs:/x",
            "s3://bucket/with space",
            "s3://bucket/p?query=1",
        ]
    ):
        experiment_id = world.client.create_experiment(world.name(f"at-{number}"), artifact_location=location)
        world.see(location, world.client.get_experiment(experiment_id).artifact_location)
        run = world.client.create_run(experiment_id, run_name="r")
        world.see(f"run in {location}", run.info.artifact_uri)
    for location in ["http://host/path", "https://host/p", "s3://bucket/p#fragment"]:
        world.refused(
            location,
            lambda place=location: world.client.create_experiment(world.name("no"), artifact_location=place),
        )


def scenario_search(world: World) -> None:
    ids = {}
    for base, tags in [("a", {"k": "1"}), ("B", {"k": "2", "other": "x"}), ("c", {}), ("D%", {"k": "%"})]:
        ids[base] = world.client.create_experiment(world.name(base), tags=tags)
    world.client.delete_experiment(ids["c"])
    mine = f"name LIKE '%-{world.name('')[1:]}'"
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        found = world.client.search_experiments(view_type=view, filter_string=mine, order_by=["name ASC"])
        world.see(f"view {view}", [item.name for item in found])
    filters = [
        "tags.k = '1'",
        "tags.k != '1'",
        "tags.k LIKE '%'",
        "tags.k IS NULL",
        "tags.k IS NOT NULL",
        "tags.other IS NULL",
        f"name = '{world.name('a')}'",
        f"name != '{world.name('a')}'",
        f"attribute.name ILIKE '{world.name('b').upper()}'",
        f"name LIKE '{world.name('b')}'",
        f"experiment_id IN ('{ids['a']}', '{ids['B']}')",
        f"experiment_id = '{ids['a']}'",
        f"experiment_id NOT IN ('{ids['a']}')",
        "creation_time > 0",
        "last_update_time < 1",
        "tags.`k` = '1' AND tags.other IS NULL",
        "tag.k = '2'",
        "tags.\"k\" = '2'",
        "creation_time >= 0 and tags.k = '2'",
    ]
    for text in filters:
        joined = f"{text} AND {mine}"
        world.refused(
            text.replace(ids["a"], "A").replace(ids["B"], "B"),
            lambda f=joined: [
                x.name for x in world.client.search_experiments(filter_string=f, order_by=["name"])
            ],
        )
    for order in (
        ["name DESC"],
        ["creation_time ASC"],
        ["experiment_id"],
        ["last_update_time DESC", "name"],
        None,
    ):
        found = world.client.search_experiments(filter_string=mine, order_by=order)
        world.see(f"order {order}", [item.name for item in found])
    first = world.client.search_experiments(filter_string=mine, max_results=2, order_by=["name"])
    world.see("page 1", [item.name for item in first])
    second = world.client.search_experiments(
        filter_string=mine, max_results=2, order_by=["name"], page_token=first.token
    )
    world.see("page 2", [[item.name for item in second], bool(second.token)])
    for bad in [
        "name",
        "name =",
        "nme = 'x'",
        "name > 'x'",
        "name = x",
        "name = 'x' OR name = 'y'",
        "   ",
        "tags.k > '1'",
        "creation_time = 'x'",
        "experiment_id > 1",
        "attribute.nothing = '1'",
        "name IS NULL",
        "(name = 'x')",
    ]:
        world.refused(bad, lambda f=bad: list(world.client.search_experiments(filter_string=f)))
    for order in ["nothing", "name UP", "tags.k", "name ASC DESC", ""]:
        world.refused(f"order {order}", lambda o=order: list(world.client.search_experiments(order_by=[o])))
    for size in (0, -1, 50_001):
        world.refused(f"size {size}", lambda n=size: list(world.client.search_experiments(max_results=n)))
    world.refused("token", lambda: list(world.client.search_experiments(page_token="nonsense")))


def scenario_deleting_takes_runs_along(world: World) -> None:
    experiment_id = world.experiment()
    kept = world.client.create_run(experiment_id, run_name="kept").info.run_id
    gone = world.client.create_run(experiment_id, run_name="gone").info.run_id
    world.client.delete_run(gone)
    world.client.delete_experiment(experiment_id)
    for run_id in (kept, gone):
        world.see("in a deleted experiment", world.client.get_run(run_id).info.lifecycle_stage)
    world.client.restore_experiment(experiment_id)
    for run_id in (kept, gone):
        world.see("in a restored experiment", world.client.get_run(run_id).info.lifecycle_stage)

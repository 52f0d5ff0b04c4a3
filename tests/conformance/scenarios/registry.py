"""Registered models and versions through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
import requests

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_models(world: World) -> None:
    name = world.name("model")
    world.see("created", world.client.create_registered_model(name, tags={"a": "1"}, description="text"))
    world.refused("again", lambda: world.client.create_registered_model(name))
    world.see("read", world.client.get_registered_model(name))
    world.see("updated", world.client.update_registered_model(name, description="other"))
    world.client.set_registered_model_tag(name, "b", "2")
    world.client.set_registered_model_tag(name, "a", "ü")
    world.client.delete_registered_model_tag(name, "nothing")
    world.see("tags", world.client.get_registered_model(name).tags)
    world.see("renamed", world.client.rename_registered_model(name, world.name("renamed")))
    world.refused("old name", lambda: world.client.get_registered_model(name))
    world.client.create_registered_model(name)
    world.refused(
        "rename onto another", lambda: world.client.rename_registered_model(name, world.name("renamed"))
    )
    world.client.delete_registered_model(name)
    world.refused("deleted", lambda: world.client.delete_registered_model(name))
    for bad in ("", "  ", "a/b", "a:b", ".", ".."):
        world.refused(f"name {bad!r}", lambda n=bad: world.client.create_registered_model(n))
    world.see("long name", len(world.client.create_registered_model(world.name("n" * 300)).name) > 300)
    world.refused("unknown", lambda: world.client.get_registered_model(world.name("unknown")))
    world.refused(
        "tag of unknown", lambda: world.client.set_registered_model_tag(world.name("unknown"), "k", "v")
    )


def scenario_versions(world: World) -> None:
    name = world.name("versions")
    run = world.client.create_run(world.experiment(), run_name="r")
    world.client.create_registered_model(name)
    first = world.client.create_model_version(
        name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"t": "1"}, description="d"
    )
    world.see("first", first)
    world.see("second", world.client.create_model_version(name, "s3://bucket/model"))
    world.see("of the model", world.client.get_registered_model(name))
    world.see("read", world.client.get_model_version(name, "1"))
    world.see("uri", world.client.get_model_version_download_uri(name, "2"))
    world.see("updated", world.client.update_model_version(name, "1", description="new"))
    world.client.set_model_version_tag(name, "1", "t", "2")
    world.client.delete_model_version_tag(name, "1", "nothing")
    world.see("tags", world.client.get_model_version(name, "1").tags)
    world.client.delete_model_version(name, "2")
    world.refused("deleted", lambda: world.client.get_model_version(name, "2"))
    world.see(
        "number is not used again", world.client.create_model_version(name, "s3://bucket/model").version
    )
    for what, source in {
        "http": "http://host/x", "local": "/etc/passwd", "file": "file:///etc", "up": "s3://bucket/../x", "encoded": "s3://b/%2e%2e/x",
        "other run": f"runs:/{'0' * 32}/model", "no such model": f"models:/{world.name('none')}/1", "dbfs": "dbfs:/x",
        "copied": f"models:/{name}/1", "foreign proxy": "mlflow-artifacts://elsewhere:1/0/x", "empty": "",
    }.items():  # fmt: skip
        world.refused(what, lambda s=source: world.client.create_model_version(name, s))
    world.refused("unknown model", lambda: world.client.create_model_version(world.name("none"), "s3://b/x"))
    for version in ("99", "x", "0", "-1"):
        world.refused(f"version {version}", lambda v=version: world.client.get_model_version(name, v))


def scenario_aliases(world: World) -> None:
    name = world.name("aliases")
    world.client.create_registered_model(name)
    for _ in range(3):
        world.client.create_model_version(name, "s3://bucket/model")
    world.client.set_registered_model_alias(name, "champion", "1")
    world.client.set_registered_model_alias(name, "champion", "2")
    world.client.set_registered_model_alias(name, "Challenger-x_1", "2")
    world.see("aliases", world.client.get_registered_model(name).aliases)
    world.see("by alias", world.client.get_model_version_by_alias(name, "champion"))
    world.refused("unknown alias", lambda: world.client.get_model_version_by_alias(name, "nobody"))
    world.refused("latest", lambda: world.client.get_model_version_by_alias(name, "latest").version)
    for alias in ("latest", "LATEST", "v1", "V22", "a b", "ä", "", "a" * 256, "a/b", "a.b"):
        world.refused(
            f"alias {alias[:5]!r}", lambda a=alias: world.client.set_registered_model_alias(name, a, "1")
        )
    world.refused("unknown version", lambda: world.client.set_registered_model_alias(name, "x", "9"))
    world.client.delete_registered_model_alias(name, "champion")
    world.client.delete_registered_model_alias(name, "champion")
    world.client.delete_model_version(name, "2")
    world.see("left", world.client.get_registered_model(name).aliases)


def scenario_stages(world: World) -> None:
    name = world.name("stages")
    world.client.create_registered_model(name)
    for _ in range(4):
        world.client.create_model_version(name, "s3://bucket/model")
    world.see("staging", world.client.transition_model_version_stage(name, "1", "staging"))
    world.client.transition_model_version_stage(name, "2", "Staging")
    world.see("latest", world.client.get_latest_versions(name))
    world.client.transition_model_version_stage(name, "3", "Staging", archive_existing_versions=True)
    world.see(
        "stages",
        [[v.version, v.current_stage] for v in world.client.search_model_versions(f"name = '{name}'")],
    )
    world.see("latest staging", world.client.get_latest_versions(name, ["Staging", "production"]))
    world.see("of the model", world.client.get_registered_model(name).latest_versions)
    world.refused("odd", lambda: world.client.transition_model_version_stage(name, "1", "Nowhere"))
    world.refused("odd latest", lambda: world.client.get_latest_versions(name, ["Nowhere"]))
    world.refused("unknown model", lambda: world.client.get_latest_versions(world.name("none")))


def scenario_search(world: World) -> None:
    names = [world.name(base) for base in ("alpha", "Beta", "gamma")]
    for number, name in enumerate(names):
        world.client.create_registered_model(name, tags={"k": str(number)} if number else {})
        for version in range(number + 1):
            world.client.create_model_version(name, f"s3://bucket/{version}", tags={"v": str(version)})
    suffix = world.name("")[1:]
    mine = f"name LIKE '%{suffix}'"
    for text in (
        mine, f"name = '{names[0]}'", f"name ILIKE '%{suffix.upper()}'", f"{mine} AND tags.k = '1'", f"tags.k != '1' AND {mine}",
        f"{mine} AND tags.`k` LIKE '%'", f"name != '{names[0]}' AND {mine}", f"name IN ('{names[0]}','{names[1]}')", "name > 'x'", "nothing = 'x'",
        "name", "name = x", "(name = 'x')", "name = 'x' OR name = 'y'", "tags.k IS NULL", "version_number > 1",
    ):  # fmt: skip
        world.refused(
            f"models {text}", lambda f=text: [m.name for m in world.client.search_registered_models(f)]
        )
    for text in (
        mine, f"name = '{names[2]}'", f"{mine} AND version_number > 1", f"{mine} AND tags.v = '0'", "run_id = 'none'", f"{mine} AND source_path LIKE '%/1'",
        "run_id IN ('a', 'b')", f"{mine} AND version_number = '1'", "nothing = 'x'", f"name ILIKE '%{suffix.upper()}'", "version = 1", f"{mine} AND tags.v != '0'",
        "name > 'x'", f"{mine} AND version_number IN (1)", f"{mine} AND creation_timestamp > 0",
    ):  # fmt: skip
        world.refused(
            f"versions {text}",
            lambda f=text: sorted([v.name, v.version] for v in world.client.search_model_versions(f)),
        )
    for order in (
        ["name DESC"],
        ["last_updated_timestamp ASC"],
        ["timestamp"],
        ["nothing"],
        ["name UP"],
        ["creation_timestamp DESC"],
    ):
        world.refused(
            f"order {order}", lambda o=order: len(world.client.search_registered_models(mine, order_by=o))
        )
    for order in (
        ["version_number ASC"],
        ["name", "version_number DESC"],
        ["creation_timestamp"],
        ["nothing"],
    ):
        world.refused(
            f"versions by {order}",
            lambda o=order: (
                [[v.name, v.version] for v in world.client.search_model_versions(mine, order_by=[*o, "name"])]
                if o != ["name", "version_number DESC"]
                else [[v.name, v.version] for v in world.client.search_model_versions(mine, order_by=o)]
            ),
        )
    first = world.client.search_registered_models(mine, max_results=2)
    second = world.client.search_registered_models(mine, max_results=2, page_token=first.token)
    world.see("pages", [[m.name for m in first], [m.name for m in second], bool(second.token)])
    for size in (0, -1, 1_000, 1_001):
        world.refused(
            f"size {size}", lambda n=size: len(world.client.search_registered_models(mine, max_results=n))
        )
    for size in (0, -1, 200_000, 200_001):
        world.refused(
            f"versions size {size}",
            lambda n=size: len(world.client.search_model_versions(mine, max_results=n)),
        )
    world.refused("token", lambda: list(world.client.search_registered_models(page_token="nonsense")))


def scenario_copying(world: World) -> None:
    name = world.name("copied")
    world.client.create_registered_model(name)
    world.client.create_model_version(name, "s3://bucket/model", tags={"t": "1"}, description="d")
    copy = world.client.copy_model_version(f"models:/{name}/1", world.name("target"))
    world.see("copy", copy)
    world.see("uri", world.client.get_model_version_download_uri(copy.name, copy.version))


def scenario_of_a_logged_model(world: World) -> None:
    name = world.name("logged")
    experiment_id = world.experiment()
    model = world.client.create_logged_model(experiment_id, name="m", params={"p": "1"})
    world.client.finalize_logged_model(model.model_id, "READY")
    with world.active():
        version = mlflow.register_model(f"models:/{model.model_id}", name)
        world.see("version", version)
        world.see("uri", world.client.get_model_version_download_uri(name, version.version))
        world.see("model", sorted(world.client.get_logged_model(model.model_id).tags))


def scenario_over_rest(world: World) -> None:
    name = world.name("rest")
    root = "/api/2.0/mlflow"
    world.send(
        "create",
        "POST",
        f"{root}/registered-models/create",
        json={"name": name, "tags": [{"key": "a", "value": "1"}]},
    )
    world.send("get", "GET", f"{root}/registered-models/get", params={"name": name})
    world.send("version", "POST", f"{root}/model-versions/create", json={"name": name, "source": "s3://b/x"})
    world.send("get version", "GET", f"{root}/model-versions/get", params={"name": name, "version": 1})
    world.send(
        "number as version", "GET", f"{root}/model-versions/get", params={"name": name, "version": "one"}
    )
    for what, method, path, body in (
        ("no name", "POST", "registered-models/create", {}), ("name is a number", "POST", "registered-models/create", {"name": 5}),
        ("tags are a text", "POST", "registered-models/create", {"name": "x", "tags": "y"}),
        ("no source", "POST", "model-versions/create", {"name": name}), ("no stage", "POST", "model-versions/transition-stage", {"name": name, "version": "1"}),
        ("no new name", "POST", "registered-models/rename", {"name": name}), ("no key", "POST", "registered-models/set-tag", {"name": name}),
        ("no alias", "POST", "registered-models/alias", {"name": name, "version": "1"}), ("patch", "PATCH", "registered-models/update", {"name": name}),
        ("delete tag", "DELETE", "registered-models/delete-tag", {"name": name, "key": "a"}), ("nothing", "DELETE", "model-versions/delete", {}),
    ):  # fmt: skip
        world.send(what, method, f"{root}/{path}", json=body)
    answer = requests.get(f"{world.url}{root}/registered-models/nothing", timeout=30)
    world.see("unknown endpoint", answer.status_code)

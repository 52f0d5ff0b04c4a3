"""Prompts as the client uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow

if TYPE_CHECKING:
    from tests.conformance.world import World


def scenario_life(world: World) -> None:
    name = world.name("prompt").replace(" ", "-")
    with world.active():
        mlflow.set_experiment(world.name("prompts"))
        first = mlflow.genai.register_prompt(name, "Say {{word}}.", commit_message="first", tags={"a": "1"})
        world.see("first", _shown(first))
        second = mlflow.genai.register_prompt(
            name, [{"role": "user", "content": "Hi {{name}}"}], tags={"b": "2"}
        )
        world.see("second", _shown(second))
        world.see("loaded", _shown(mlflow.genai.load_prompt(name, version=1)))
        world.see("by uri", _shown(mlflow.genai.load_prompt(f"prompts:/{name}/2")))
        mlflow.genai.set_prompt_alias(name, "production", 1)
        world.see("by alias", _shown(mlflow.genai.load_prompt(f"prompts:/{name}@production")))
        world.see("latest", _shown(mlflow.genai.load_prompt(f"prompts:/{name}@latest")))
        mlflow.genai.delete_prompt_alias(name, "production")
        world.refused("alias gone", lambda: mlflow.genai.load_prompt(f"prompts:/{name}@production"))
        world.see("missing", mlflow.genai.load_prompt(f"{world.name('none')}@x", allow_missing=True))
        found = mlflow.genai.search_prompts(filter_string=f"name = '{name}'")
        world.see("found", [[item.name, item.tags] for item in found])
        world.see("formatted", mlflow.genai.load_prompt(name, version=1).format(word="hello"))
        mlflow.genai.set_prompt_version_tag(name, 1, "t", "x")
        mlflow.genai.delete_prompt_version_tag(name, 1, "t")
        mlflow.genai.set_prompt_tag(name, "owner", "me")
        world.see("tags", mlflow.genai.get_prompt_tags(name))


def scenario_beside_models(world: World) -> None:
    prompt, model = world.name("p"), world.name("m")
    with world.active():
        mlflow.genai.register_prompt(prompt, "text")
        world.client.create_registered_model(model)
        suffix = world.name("")[1:]
        world.see("models", [m.name for m in world.client.search_registered_models(f"name LIKE '%{suffix}'")])
        world.see("versions", [v.name for v in world.client.search_model_versions(f"name LIKE '%{suffix}'")])
        world.refused("prompt named as a model", lambda: mlflow.genai.register_prompt(model, "text"))
        world.refused("model named as a prompt", lambda: world.client.create_registered_model(prompt))
        world.refused("prompt as a model", lambda: world.client.get_registered_model(prompt))
        path = "/ajax-api/2.0/mlflow/registered-models/search"
        for clause in ("= 'true'", "!= 'true'", "= 'false'"):
            text = f"tags.`mlflow.prompt.is_prompt` {clause} AND name LIKE '%{suffix}'"
            world.send(clause, "GET", path, params={"filter": text})


def scenario_refusals(world: World) -> None:
    name = world.name("p")
    with world.active():
        for bad in ("a b", "a/b", "", "ä"):
            world.refused(f"name {bad!r}", lambda n=bad: mlflow.genai.register_prompt(n, "text"))
        mlflow.genai.register_prompt(name, "text")
        world.refused("unknown version", lambda: mlflow.genai.load_prompt(name, version=9))
        world.refused("unknown prompt", lambda: mlflow.genai.load_prompt(world.name("none"), version=1))
        world.refused("reserved alias", lambda: mlflow.genai.set_prompt_alias(name, "latest", 1))
        world.refused("delete", lambda: world.client.delete_prompt(name))
        world.refused("delete again", lambda: world.client.delete_prompt(name))
        world.refused("gone", lambda: mlflow.genai.load_prompt(name, version=1))


def scenario_in_a_run(world: World) -> None:
    name = world.name("used")
    with world.active():
        mlflow.set_experiment(world.name("uses"))
        mlflow.genai.register_prompt(name, "text {{x}}")
        with mlflow.start_run(run_name="r") as run:
            mlflow.genai.load_prompt(f"prompts:/{name}/1")
        tags = world.client.get_run(run.info.run_id).data.tags
        world.see("linked", tags.get("mlflow.linkedPrompts"))


def _shown(prompt: object) -> dict[str, object]:
    names = (
        "name",
        "version",
        "template",
        "commit_message",
        "tags",
        "is_text_prompt",
        "variables",
        "aliases",
        "uri",
    )
    return {name: getattr(prompt, name) for name in names if hasattr(prompt, name)}

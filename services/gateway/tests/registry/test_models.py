"""Registered models through MLflow's REST API."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.tests.registry.support import PROMPT_TAGS, Api

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"


def test_a_model_is_created_read_changed_renamed_and_deleted(api: Api) -> None:
    name = api.model(description="d", tags=[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}])
    model = api.ok("GET", "registered-models/get", name=name)["registered_model"]
    assert model == {
        "name": name,
        "creation_timestamp": model["creation_timestamp"],
        "last_updated_timestamp": model["creation_timestamp"],
        "description": "d",
        "tags": [{"key": "a", "value": "2"}],
    }
    # Without a description it is cleared.
    assert "description" not in api.ok("PATCH", "registered-models/update", name=name)["registered_model"]
    renamed = api.ok("POST", "registered-models/rename", name=name, new_name=f"{name}-2")["registered_model"]
    assert renamed["name"] == f"{name}-2"
    assert api.ok("DELETE", "registered-models/delete", name=f"{name}-2") == {}
    status, code, text = api.refused("GET", "registered-models/get", name=name)
    assert (status, code, text) == (404, MISSING, f"Registered Model with name={name} not found")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Missing value for required parameter 'name'"),
        (" ", "Missing value for required parameter 'name'"),
        ("a/b", "Names cannot contain '/' or ':'"),
        ("a:b", "Names cannot contain '/' or ':'"),
        ("..", "name"),
        (5, "name"),
    ],
)
def test_names_that_no_model_can_have(api: Api, name: Any, text: str) -> None:
    status, code, message = api.refused("POST", "registered-models/create", name=name)
    assert (status, code) == (400, INVALID)
    assert text in message


def test_models_and_prompts_share_their_names(api: Api) -> None:
    model, prompt = api.model("-m"), api.model("-p", tags=PROMPT_TAGS[:1])
    taken = [
        api.refused("POST", "registered-models/create", name=model),
        api.refused("POST", "registered-models/create", name=model, tags=PROMPT_TAGS[:1]),
        api.refused("POST", "registered-models/create", name=prompt),
        api.refused("POST", "registered-models/rename", name=model, new_name=prompt),
    ]
    assert {(status, code) for status, code, _ in taken} == {(400, "RESOURCE_ALREADY_EXISTS")}
    texts = [text for _, _, text in taken]
    assert texts[0] == f"Registered Model (name={model}) already exists."
    assert "Tried to create a prompt" in texts[1]
    assert "already taken by a prompt" in texts[2]
    assert texts[3] == f"Registered Model (name={prompt}) already exists."


def test_tags_are_set_and_deleted_and_a_missing_one_is_harmless(api: Api) -> None:
    name = api.model()
    api.ok("POST", "registered-models/set-tag", name=name, key="k", value="v")
    api.ok("POST", "registered-models/set-tag", name=name, key="empty")
    assert api.ok("GET", "registered-models/get", name=name)["registered_model"]["tags"] == [
        {"key": "empty", "value": ""},
        {"key": "k", "value": "v"},
    ]
    api.ok("DELETE", "registered-models/delete-tag", name=name, key="k")
    api.ok("DELETE", "registered-models/delete-tag", name=name, key="k")
    assert len(api.ok("GET", "registered-models/get", name=name)["registered_model"]["tags"]) == 1
    assert api.refused("POST", "registered-models/set-tag", name=name, key="!", value="v")[:2] == (
        400,
        INVALID,
    )
    assert api.refused("DELETE", "registered-models/delete-tag", name=f"{name}-x", key="k")[:2] == (
        404,
        MISSING,
    )


def test_long_names_and_many_tags_are_taken(api: Api) -> None:
    tags = [{"key": f"k{number:03}", "value": "v"} for number in range(300)]
    name = api.model("x" * 700, tags=tags)
    assert api.ok("GET", "registered-models/get", name=name)["registered_model"]["tags"] == tags


def test_a_search_pages_orders_and_hides_prompts(api: Api) -> None:
    names = [api.model(f"-{letter}") for letter in "abc"]
    prompt = api.model("-p", tags=[*PROMPT_TAGS[:1], {"key": "team", "value": "x"}])
    mine = f"name LIKE '{api.unique}%'"

    def found(**query: Any) -> list[str]:
        page = api.ok("GET", "registered-models/search", **query)
        return [model["name"] for model in page.get("registered_models", [])]

    assert found(filter=mine) == names
    assert found(filter=mine, order_by="name DESC") == names[::-1]
    first = api.ok("GET", "registered-models/search", filter=mine, max_results=2)
    rest = found(filter=mine, max_results=2, page_token=first["next_page_token"])
    assert [model["name"] for model in first["registered_models"]] + rest == names
    # Whatever the first clause about the tag says decides for prompts or models.
    tag = "tags.`mlflow.prompt.is_prompt`"
    assert found(filter=f"{tag} = 'true' AND {mine}") == [prompt]
    assert found(filter=f"{tag} != 'false' AND tags.team = 'x' AND {mine}") == [prompt]
    for other in ("!= 'true'", "= 'false'", "= 'anything'", "LIKE 'tr%'"):
        assert found(filter=f"{tag} {other} AND {mine}") == names
    assert found(filter=mine, max_results=0) == found(filter=mine, max_results=-1) == []


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "name > 'a'"},
        {"filter": "creation_timestamp > 0"},
        {"filter": "name = 'a' OR name = 'b'"},
        {"filter": "tags.k IS NULL"},
        {"order_by": "version_number"},
        {"order_by": ["name", "name DESC"]},
        {"max_results": 1001},
        {"max_results": "many"},
        {"page_token": "no token"},
    ],
)
def test_searches_that_mlflow_refuses(api: Api, query: dict[str, Any]) -> None:
    assert api.refused("GET", "registered-models/search", **query)[:2] == (400, INVALID)

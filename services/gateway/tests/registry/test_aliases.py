"""Aliases and stages through MLflow's REST API: promotions, with every gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub

from services.gateway.tests.registry.support import PROMPT_TAGS, Api

if TYPE_CHECKING:
    from tests.support.service_stack import ServiceStack

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"


@pytest.fixture
def promotions(mlflow_stack: ServiceStack) -> Iterator[PromotionServiceStub]:
    """The registry's own service, for what MLflow has no words for."""
    with grpc.insecure_channel(mlflow_stack.registry.target) as channel:
        yield PromotionServiceStub(channel)


def test_an_alias_moves_and_is_read(api: Api) -> None:
    name = api.model()
    for _ in range(2):
        api.version(name)
    for version in ("1", "2", "2"):
        assert api.ok("POST", "registered-models/alias", name=name, alias="Ärger-1", version=version) == {}
        found = api.ok("GET", "registered-models/alias", name=name, alias="Ärger-1")["model_version"]
        assert (found["version"], found["aliases"]) == (version, ["Ärger-1"])
    model = api.ok("GET", "registered-models/get", name=name)["registered_model"]
    assert model["aliases"] == [{"alias": "Ärger-1", "version": "2"}]
    # A model's versions are without aliases, a version that is read by itself has them (MLflow).
    assert "aliases" not in model["latest_versions"][0]
    for _ in range(2):
        assert api.ok("DELETE", "registered-models/alias", name=name, alias="Ärger-1") == {}
    refused = api.refused("GET", "registered-models/alias", name=name, alias="Ärger-1")
    assert refused == (400, INVALID, "Registered model alias Ärger-1 not found.")


def test_latest_is_the_newest_version_of_models_and_prompts(api: Api) -> None:
    name, prompt, empty = api.model(), api.model("-p", tags=PROMPT_TAGS[:1]), api.model("-empty")
    for _ in range(2):
        api.version(name)
        api.version(prompt, "dummy-source", tags=PROMPT_TAGS)
    for each in (name, prompt):
        for alias in ("latest", "LATEST"):
            found = api.ok("GET", "registered-models/alias", name=each, alias=alias)["model_version"]
            assert found["version"] == "2"
    refused = api.refused("GET", "registered-models/alias", name=empty, alias="latest")
    assert refused == (404, MISSING, f"Latest version not found for model {empty}.")
    assert api.refused("GET", "registered-models/alias", name=f"{empty}-x", alias="latest")[0] == 404


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "V12", "a b", "a/b", "x" * 256, ""])
def test_aliases_that_cannot_be_set(api: Api, alias: str) -> None:
    name = api.model()
    api.version(name)
    refused = api.refused("POST", "registered-models/alias", name=name, alias=alias, version="1")
    assert refused[:2] == (400, INVALID)


def test_an_alias_needs_a_version_and_goes_with_it(api: Api) -> None:
    name = api.model()
    api.version(name)
    refused = api.refused("POST", "registered-models/alias", name=name, alias="a", version="2")
    assert refused == (404, MISSING, f"Model Version (name={name}, version=2) not found")
    api.ok("POST", "registered-models/alias", name=name, alias="a", version="1")
    api.ok("DELETE", "model-versions/delete", name=name, version="1")
    assert api.refused("GET", "registered-models/alias", name=name, alias="a")[:2] == (400, INVALID)


def test_stages_are_set_archived_and_listed(api: Api) -> None:
    name = api.model()
    for _ in range(3):
        api.version(name)

    def move(version: str, stage: str, **fields: bool) -> str:
        answer = api.ok(
            "POST", "model-versions/transition-stage", name=name, version=version, stage=stage, **fields
        )
        stage_now: str = answer["model_version"]["current_stage"]
        return stage_now

    assert move("1", "production") == "Production"
    assert move("2", "PRODUCTION", archive_existing_versions=True) == "Production"
    assert (
        api.ok("GET", "model-versions/get", name=name, version="1")["model_version"]["current_stage"]
        == "Archived"
    )
    assert move("3", "Staging") == "Staging"
    assert move("3", "none") == "None"
    for method in ("GET", "POST"):
        latest = api.ok(method, "registered-models/get-latest-versions", name=name)["model_versions"]
        assert [(item["version"], item["current_stage"]) for item in latest] == [
            ("1", "Archived"),
            ("2", "Production"),
            ("3", "None"),
        ]
        some = api.ok(method, "registered-models/get-latest-versions", name=name, stages=["production"])
        assert [item["version"] for item in some["model_versions"]] == ["2"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"stage": "bogus"}, 400),
        ({}, 400),
        ({"stage": "Archived", "archive_existing_versions": True}, 400),
        ({"stage": "Staging", "archive_existing_versions": "yes"}, 400),
        ({"stage": "Staging", "version": "9"}, 404),
    ],
)
def test_transitions_that_are_refused(api: Api, fields: dict[str, object], status: int) -> None:
    name = api.model()
    api.version(name)
    answer = api.refused(
        "POST", "model-versions/transition-stage", **{"name": name, "version": "1", **fields}
    )
    assert answer[0] == status


def test_a_gate_refuses_with_its_text(api: Api, promotions: PromotionServiceStub) -> None:
    name = api.model()
    api.version(name)
    document = pb.PolicyDocument(
        models=name, targets="*", rules=[pb.Rule(tag=pb.TagRule(key="validated", value="yes"))]
    )
    promotions.PutPolicy(pb.PutPolicyRequest(name=name, document=document))
    for path, target in (
        ("registered-models/alias", {"alias": "champion"}),
        ("model-versions/transition-stage", {"stage": "Production"}),
    ):
        status, code, text = api.refused("POST", path, name=name, version="1", **target)
        assert (status, code) == (400, INVALID)
        assert "validated" in text
        assert name in text
    api.ok("POST", "model-versions/set-tag", name=name, version="1", key="validated", value="yes")
    api.ok("POST", "registered-models/alias", name=name, alias="champion", version="1")


def test_where_approval_is_needed_the_refusal_says_how_to_ask(
    api: Api, promotions: PromotionServiceStub
) -> None:
    name = api.model()
    api.version(name)
    approvals = pb.ApprovalRule(count=1, roles=["lead"])
    document = pb.PolicyDocument(
        models=name,
        targets="alias/champion",
        rules=[pb.Rule(approvals=approvals)],
        roles=[pb.Role(name="lead", members=["grace"])],
    )
    promotions.PutPolicy(pb.PutPolicyRequest(name=name, document=document))
    status, code, text = api.refused(
        "POST", "registered-models/alias", name=name, alias="champion", version="1"
    )
    assert (status, code) == (403, "PERMISSION_DENIED")
    assert "/api/runstream/v1/promotion-requests" in text
    api.ok("POST", "registered-models/alias", name=name, alias="other", version="1")


def test_promotions_are_made_in_the_name_of_the_client(api: Api, promotions: PromotionServiceStub) -> None:
    name = api.model()
    api.version(name)
    api.ok("POST", "registered-models/alias", name=name, alias="a", version="1")
    made = promotions.ListPromotions(pb.ListPromotionsRequest(name=name)).promotions
    assert [(item.target.alias, item.actor) for item in made] == [("a", "mlflow-client")]

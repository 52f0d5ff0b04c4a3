"""The registry and prompts through MLflow's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub

from services.gateway.tests.registry.support import Api

if TYPE_CHECKING:
    from tests.support.service_stack import ServiceStack


@pytest.fixture
def client(gateway_url: str) -> Iterator[MlflowClient]:
    """MLflow's client, and MLflow's functions, at the gateway."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(gateway_url)
    try:
        yield MlflowClient(gateway_url, gateway_url)
    finally:
        mlflow.set_tracking_uri(before)


@pytest.fixture
def models(mlflow_stack: ServiceStack) -> Iterator[ModelServiceStub]:
    """The registry's own service."""
    with grpc.insecure_channel(mlflow_stack.registry.target) as channel:
        yield ModelServiceStub(channel)


@pytest.mark.filterwarnings("ignore:.*stage:FutureWarning", "ignore:.*latest_versions:FutureWarning")
def test_a_model_goes_through_its_life(client: MlflowClient, api: Api) -> None:
    name = api.unique
    client.create_registered_model(name, tags={"a": "b"}, description="d")
    for source in ("s3://b/1", "s3://b/2"):
        client.create_model_version(name, source, description=source)
    client.set_registered_model_alias(name, "champion", "1")
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    assert {version.version: version.current_stage for version in client.get_latest_versions(name)} == {
        "1": "Archived",
        "2": "Production",
    }
    assert client.get_model_version_by_alias(name, "champion").description == "s3://b/1"
    copy = client.copy_model_version(f"models:/{name}@champion", f"{name}-copy")
    assert (copy.name, copy.version, copy.source) == (f"{name}-copy", "1", f"models:/{name}/1")
    assert client.get_model_version_download_uri(f"{name}-copy", "1") == "s3://b/1"
    client.rename_registered_model(name, f"{name}-new")
    assert client.get_registered_model(f"{name}-new").aliases == {"champion": "1"}
    found = client.search_model_versions(f"name = '{name}-new'", order_by=["version_number"])
    assert [version.version for version in found] == ["1", "2"]
    client.delete_registered_model(f"{name}-new")
    with pytest.raises(MlflowException) as raised:
        client.get_registered_model(f"{name}-new")
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_registered_version_has_its_own_copy_of_the_files(
    client: MlflowClient, api: Api, models: ModelServiceStub
) -> None:
    run = client.create_run("0")
    client.log_text(run.info.run_id, "flavors: {python_function: {}}\n", "model/MLmodel")
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", api.unique, tags={"x": "y"})
    assert version.tags == {"x": "y"}
    selector = pb.VersionSelector(version=1)
    resolved = models.ResolveVersion(pb.ResolveVersionRequest(name=api.unique, selector=selector))
    assert resolved.artifacts.file_count == 1
    assert resolved.artifacts.uri.startswith("runstream://")
    # MLflow's clients go on reading where they said the files are.
    assert client.get_model_version_download_uri(api.unique, "1") == version.source


def test_a_source_without_files_is_taken_as_mlflow_takes_it(
    client: MlflowClient, api: Api, models: ModelServiceStub
) -> None:
    run = client.create_run("0")
    client.create_registered_model(api.unique)
    source = f"runs:/{run.info.run_id}/later"
    client.create_model_version(api.unique, source, run.info.run_id)
    selector = pb.VersionSelector(version=1)
    resolved = models.ResolveVersion(pb.ResolveVersionRequest(name=api.unique, selector=selector))
    assert (resolved.artifacts.uri, resolved.artifacts.file_count) == (source, 0)


def test_prompts_are_registered_loaded_searched_and_pointed_at(client: MlflowClient, api: Api) -> None:
    name, genai = api.unique, mlflow.genai
    genai.register_prompt(name, "Hi {{who}}", commit_message="first", tags={"a": "b"})
    chat = [{"role": "user", "content": "Hello {{who}}"}]
    assert genai.register_prompt(name, chat, model_config={"temperature": 0.5}).version == 2
    first = genai.load_prompt(name, version=1)
    assert first is not None
    assert (first.template, first.commit_message, first.tags) == ("Hi {{who}}", "first", {"a": "b"})
    latest = genai.load_prompt(f"prompts:/{name}@latest")
    assert latest is not None
    assert (latest.version, latest.template, latest.model_config) == (2, chat, {"temperature": 0.5})
    genai.set_prompt_alias(name, "production", 1)
    aliased = genai.load_prompt(f"prompts:/{name}@production")
    assert aliased is not None
    assert aliased.version == 1
    genai.set_prompt_tag(name, "team", "x")
    found = genai.search_prompts(filter_string=f"name = '{name}'")
    assert [(prompt.name, prompt.tags["team"]) for prompt in found] == [(name, "x")]
    assert [prompt.version for prompt in client.search_prompt_versions(name)] == [2, 1]
    assert client.search_registered_models(f"name = '{name}'") == []
    assert client.search_model_versions(f"name = '{name}'") == []
    assert genai.load_prompt(f"{name}-none", allow_missing=True) is None


def test_settings_of_a_prompt_may_be_tried_out_and_its_text_stays(client: MlflowClient, api: Api) -> None:
    name = api.unique
    mlflow.genai.register_prompt(name, "text")
    mlflow.genai.set_prompt_model_config(name, 1, {"temperature": 0.7})
    prompt = client.get_prompt_version(name, "1")
    assert prompt is not None
    assert prompt.model_config == {"temperature": 0.7}
    mlflow.genai.delete_prompt_model_config(name, 1)
    refused = api.refused(
        "POST", "model-versions/set-tag", name=name, version="1", key="mlflow.prompt.text", value="other"
    )
    assert refused[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_webhooks_through_the_client(client: MlflowClient, api: Api) -> None:
    made = client.create_webhook(api.unique, "https://93.184.216.34/x", ["model_version.created"], secret="s")
    assert made.secret is None
    changed = client.update_webhook(made.webhook_id, events=["prompt.created"], status="DISABLED")
    assert [str(event) for event in changed.events] == ["prompt.created"]
    assert made.webhook_id in {webhook.webhook_id for webhook in client.list_webhooks(max_results=1000)}
    client.delete_webhook(made.webhook_id)
    with pytest.raises(MlflowException, match="not found"):
        client.get_webhook(made.webhook_id)

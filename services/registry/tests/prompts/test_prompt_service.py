"""PromptService over gRPC: prompts are registered models with MLflow's tags, so ModelService sees the same ones."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PlatformError,
)
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.registry.v1 import model_service_pb2 as models_pb
from runstream_proto.registry.v1 import promotion_service_pb2 as promotions_pb
from runstream_proto.registry.v1 import prompt_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types
from runstream_proto.registry.v1 import webhook_service_pb2 as webhooks_pb
from runstream_registry.notices import EXAMPLES
from runstream_registry.prompts import prompts

CHAT = pb.Template(
    chat=pb.Chat(
        messages=[
            pb.ChatMessage(role="system", content="You are {{ who }}."),
            pb.ChatMessage(role="user", content="{{question}}"),
        ]
    )
)


async def refusal(call) -> PlatformError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


def fields_of(error: PlatformError) -> set[str]:
    assert isinstance(error, InvalidArgument), error
    return {item.field for item in error.violations}


def struct(**content) -> Struct:
    made = Struct()
    made.update(content)
    return made


def tags_of(message) -> dict[str, str]:
    return {tag.key: tag.value for tag in message.tags}


async def get(client, name="greeting", **selector) -> pb.PromptVersion:
    return (await client.prompts.GetPromptVersion(pb.GetPromptVersionRequest(name=name, **selector))).version


async def promote(client, version, alias) -> None:
    request = promotions_pb.PromoteRequest(
        name="greeting", version=version, target=promotions_pb.Target(alias=alias)
    )
    await client.promotions.Promote(request)


async def test_versions_are_made_one_after_the_other_and_read_back_whole(client):
    first = await client.create(
        model_config=struct(model_name="m", max_tokens=100, temperature=0.5),
        response_format=struct(type="object"),
        commit_message="begin",
        tags=[types.Tag(key="team", value="nlp")],
        prompt_tags=[types.Tag(key="area", value="support")],
    )
    second = await client.create(template=CHAT)
    found = await get(client, version=1)

    assert (first.version, second.version) == (1, 2)
    assert found == first
    assert (found.template.text, list(found.variables)) == ("Hello {{name}}!", ["name"])
    assert MessageToDict(found.model_config) == {"model_name": "m", "max_tokens": 100, "temperature": 0.5}
    assert MessageToDict(found.response_format) == {"type": "object"}
    assert (found.commit_message, found.user_id, tags_of(found)) == ("begin", "ada", {"team": "nlp"})
    assert (second.template, list(second.variables)) == (CHAT, ["who", "question"])


async def test_they_are_stored_with_mlflows_tags(client):
    await client.create(model_config=struct(max_tokens=100), prompt_tags=[types.Tag(key="area", value="x")])
    await client.create(template=CHAT)
    model = (await client.models.GetModel(models_pb.GetModelRequest(name="greeting"))).model
    versions = [
        (
            await client.models.GetVersion(
                models_pb.GetVersionRequest(
                    name="greeting", selector=models_pb.VersionSelector(version=number)
                )
            )
        ).version
        for number in (1, 2)
    ]

    assert tags_of(model) == {"area": "x", "mlflow.prompt.is_prompt": "true"}
    assert tags_of(versions[0]) == {
        "_mlflow_prompt_model_config": '{"max_tokens": 100}',
        "_mlflow_prompt_type": "text",
        "mlflow.prompt.is_prompt": "true",
        "mlflow.prompt.text": "Hello {{name}}!",
    }
    assert tags_of(versions[1])["_mlflow_prompt_type"] == "chat"
    assert json.loads(tags_of(versions[1])["mlflow.prompt.text"])[1] == {
        "role": "user",
        "content": "{{question}}",
    }
    assert versions[0].source == "prompt-template"


async def test_prompts_made_through_the_model_service_are_prompts(client):
    mark = types.Tag(key="mlflow.prompt.is_prompt", value="true")
    await client.models.CreateModel(models_pb.CreateModelRequest(name="old", tags=[mark]))
    text = types.Tag(key="mlflow.prompt.text", value="Hi {{x}}")
    await client.models.CreateVersion(
        models_pb.CreateVersionRequest(name="old", source="dummy-source", tags=[mark, text])
    )

    found = await get(client, "old", alias="latest")
    assert (found.version, found.template.text, list(found.variables)) == (1, "Hi {{x}}", ["x"])


async def test_what_a_version_says_never_changes(client):
    await client.create()
    for key in ("mlflow.prompt.text", "_mlflow_prompt_type", "mlflow.prompt.is_prompt"):
        change = models_pb.ChangeTagsRequest(
            name="greeting", version=1, set=[types.Tag(key=key, value="other")]
        )
        delete = models_pb.ChangeTagsRequest(name="greeting", version=1, delete_keys=[key])
        for request in (change, delete):
            error = await refusal(client.models.ChangeTags(request))
            assert (type(error), error.reason) == (FailedPrecondition, "PROMPT_IMMUTABLE")
    own = types.Tag(key="score", value="5")
    # The model's settings are tried out on a version (MLflow).
    settings = types.Tag(key="_mlflow_prompt_model_config", value='{"temperature": 0.7}')
    await client.models.ChangeTags(
        models_pb.ChangeTagsRequest(name="greeting", version=1, set=[own, settings])
    )

    found = await get(client, version=1)
    assert tags_of(found) == {"score": "5"}
    assert MessageToDict(found.model_config) == {"temperature": 0.7}


@pytest.mark.parametrize(
    ("request_fields", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"name": "a/b"}, {"name"}),
        ({"name": "ä"}, {"name"}),
        ({"name": "."}, {"name"}),
        ({"template": pb.Template()}, {"template"}),
        ({"text": ""}, {"template.text"}),
        ({"text": "x" * 100_001}, {"template"}),
        ({"text": "a\0b"}, {"template"}),
        ({"template": pb.Template(chat=pb.Chat())}, {"template"}),
        (
            {"template": pb.Template(chat=pb.Chat(messages=[pb.ChatMessage(content="x")]))},
            {"template.chat.messages[0].role"},
        ),
        ({"expected_variables": ["other"]}, {"template"}),
        ({"model_config": struct(top_p=2)}, {"model_config.top_p"}),
        ({"response_format": struct(type="nothing")}, {"response_format.type"}),
        ({"model_config": struct(own="x" * 100_001)}, {"model_config"}),
        ({"tags": [types.Tag(key="mlflow.prompt.text", value="x")]}, {"tags[0].key"}),
        ({"prompt_tags": [types.Tag(key="mlflow.prompt.is_prompt", value="false")]}, {"prompt_tags[0].key"}),
        ({"version_id": "x"}, {"version_id"}),
    ],
)
async def test_wrong_fields_are_named(client, request_fields, fields):
    assert fields_of(await refusal(client.create(**request_fields))) == fields


async def test_a_repeated_call_returns_the_same_version(client):
    version_id = uuid.uuid4().hex

    first, again = [await client.create(version_id=version_id) for _ in range(2)]

    assert first == again
    assert (await client.create()).version == 2


async def test_many_at_once_get_numbers_without_gaps(client):
    versions = await asyncio.gather(*(client.create(text=f"{number} {{{{x}}}}") for number in range(20)))

    assert sorted(version.version for version in versions) == list(range(1, 21))


async def test_a_name_of_a_model_is_taken(client):
    await client.models.CreateModel(models_pb.CreateModelRequest(name="greeting"))

    error = await refusal(client.create())

    assert (type(error), error.reason) == (AlreadyExists, "MODEL_NAME_TAKEN")
    assert "registered model" in error.message


async def test_what_is_not_there(client):
    await client.create()
    await client.models.CreateModel(models_pb.CreateModelRequest(name="model"))
    for name in ("none", "model"):
        error = await refusal(get(client, name, version=1))
        assert (type(error), error.reason) == (NotFound, "PROMPT_NOT_FOUND")
        listing = pb.ListPromptVersionsRequest(name=name)
        assert (await refusal(client.prompts.ListPromptVersions(listing))).reason == "PROMPT_NOT_FOUND"

    assert (await refusal(get(client, version=2))).reason == "VERSION_NOT_FOUND"
    # MLflow's rule: an unknown alias is an invalid argument.
    assert (await refusal(get(client, alias="nope"))).reason == "ALIAS_NOT_FOUND"
    assert fields_of(await refusal(get(client))) == {"selector"}


async def test_an_alias_is_set_by_promotion_and_read(client):
    await client.create()
    await client.create(text="Hi {{name}}")

    await promote(client, 1, "production")

    found = await get(client, alias="production")
    assert (found.version, list(found.aliases)) == (1, ["production"])
    assert (await get(client, alias="latest")).version == 2


async def test_versions_are_listed_newest_first_in_pages(client):
    for number in range(5):
        await client.create(text=str(number))

    pages, token = [], ""
    while True:
        request = pb.ListPromptVersionsRequest(name="greeting", page_size=2, page_token=token)
        answer = await client.prompts.ListPromptVersions(request)
        pages.append([version.version for version in answer.versions])
        token = answer.next_page_token
        if not token:
            break

    assert pages == [[5, 4], [3, 2], [1]]


async def test_a_page_of_long_versions_ends_early(client, monkeypatch):
    monkeypatch.setattr(prompts, "MAX_PAGE_CHARS", 15_000)
    for _ in range(3):
        await client.create(text="x" * 10_000)

    first = await client.prompts.ListPromptVersions(pb.ListPromptVersionsRequest(name="greeting"))
    request = pb.ListPromptVersionsRequest(name="greeting", page_token=first.next_page_token)
    second = await client.prompts.ListPromptVersions(request)

    assert [version.version for version in first.versions] == [3, 2]
    assert ([version.version for version in second.versions], second.next_page_token) == ([1], "")


async def test_search_finds_prompts_only(client):
    await client.create("b-prompt", prompt_tags=[types.Tag(key="area", value="x")])
    await client.create("a-prompt")
    await client.models.CreateModel(models_pb.CreateModelRequest(name="a-model"))

    async def names(**fields):
        answer = await client.prompts.SearchPrompts(pb.SearchPromptsRequest(**fields))
        return [(prompt.name, prompt.latest_version, tags_of(prompt)) for prompt in answer.prompts]

    assert await names() == [("a-prompt", 1, {}), ("b-prompt", 1, {"area": "x"})]
    assert [name for name, *_ in await names(filter="name LIKE 'a-%'")] == ["a-prompt"]
    assert [name for name, *_ in await names(filter="tags.area = 'x'")] == ["b-prompt"]
    assert [name for name, *_ in await names(filter="tags.area = 'x' and ")] == ["b-prompt"]
    assert [name for name, *_ in await names(order_by=["name DESC"])] == ["b-prompt", "a-prompt"]
    for text in ("name = 'a", "name = 'x') OR (name = 'a-model'", "   "):
        error = await refusal(client.prompts.SearchPrompts(pb.SearchPromptsRequest(filter=text)))
        assert isinstance(error, InvalidArgument)


async def test_a_search_with_or_finds_no_models(client):
    await client.create("p")
    await client.models.CreateModel(models_pb.CreateModelRequest(name="m"))

    answer = await client.prompts.SearchPrompts(pb.SearchPromptsRequest(filter="name = 'm' OR name = 'p'"))

    assert [prompt.name for prompt in answer.prompts] == ["p"]


async def test_two_versions_are_compared(client):
    await client.create(text="Hello {{name}}!\nBye", model_config=struct(temperature=0.5))
    await client.create(text="Hello {{user}}!\nBye", model_config=struct(temperature=0.7))

    diff = await client.prompts.DiffPromptVersions(
        pb.DiffPromptVersionsRequest(name="greeting", from_version=1, to_version=2)
    )

    assert diff.template_diff == (
        "--- greeting/1\n+++ greeting/2\n@@ -1,2 +1,2 @@\n-Hello {{name}}!\n+Hello {{user}}!\n Bye"
    )
    assert (list(diff.added_variables), list(diff.removed_variables)) == (["user"], ["name"])
    assert '-  "temperature": 0.5\n+  "temperature": 0.7' in diff.model_config_diff
    assert diff.response_format_diff == ""


async def test_a_prompt_is_rendered_by_number_and_alias(client):
    await client.create()
    await client.create(template=CHAT)
    await promote(client, 1, "production")

    by_alias = await client.prompts.RenderPrompt(
        pb.RenderPromptRequest(name="greeting", alias="production", variables={"name": "Ada"})
    )
    by_number = await client.prompts.RenderPrompt(
        pb.RenderPromptRequest(name="greeting", version=2, variables={"who": "kind", "question": "Why?"})
    )
    error = await refusal(
        client.prompts.RenderPrompt(
            pb.RenderPromptRequest(name="greeting", version=1, variables={"nome": "Ada"})
        )
    )

    assert (by_alias.template.text, by_alias.version) == ("Hello Ada!", 1)
    assert [m.content for m in by_number.template.chat.messages] == ["You are kind.", "Why?"]
    assert fields_of(error) == {"variables.name", "variables.nome"}


async def test_uses_are_noted_once_and_found_from_both_sides(client):
    await client.create()
    await client.create()
    await client.create("other")
    run_id = uuid.uuid4().hex

    async def link(name, version, kind, user_id):
        request = pb.LinkPromptVersionRequest(name=name, version=version, kind=kind, id=user_id)
        await client.prompts.LinkPromptVersion(request)

    async def links(**fields):
        found = await client.prompts.ListPromptLinks(pb.ListPromptLinksRequest(**fields))
        return [(item.name, item.version, item.kind, item.id) for item in found.links], found.next_page_token

    for _ in range(2):
        await link("greeting", 1, "run", run_id)
    await link("greeting", 2, "trace", "tr-1")
    await link("other", 1, "run", run_id)

    assert (await links(name="greeting"))[0] == [
        ("greeting", 2, "trace", "tr-1"),
        ("greeting", 1, "run", run_id),
    ]
    assert (await links(name="greeting", version=1))[0] == [("greeting", 1, "run", run_id)]
    used, token = await links(kind="run", id=run_id, page_size=1)
    assert used == [("other", 1, "run", run_id)]
    assert (await links(kind="run", id=run_id, page_size=1, page_token=token)) == (
        [("greeting", 1, "run", run_id)],
        "",
    )
    await client.models.DeleteVersion(models_pb.DeleteVersionRequest(name="greeting", version=1))
    assert (await links(name="greeting"))[0] == [("greeting", 2, "trace", "tr-1")]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"kind": "job", "id": "x"}, {"kind"}),
        ({"kind": "run", "id": "x"}, {"id"}),
        ({"kind": "trace"}, {"id"}),
    ],
)
async def test_wrong_links_are_refused(client, fields, wrong):
    await client.create()
    request = pb.LinkPromptVersionRequest(name="greeting", version=1, **fields)

    assert fields_of(await refusal(client.prompts.LinkPromptVersion(request))) == wrong


async def test_a_link_needs_a_version_that_is_there(client):
    await client.create()
    request = pb.LinkPromptVersionRequest(name="greeting", version=2, kind="trace", id="tr-1")

    assert (await refusal(client.prompts.LinkPromptVersion(request))).reason == "VERSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [({}, {"name"}), ({"name": "a\0b"}, {"name"}), ({"id": "x"}, {"kind"}), ({"kind": "run"}, {"name"})],
)
async def test_a_list_of_links_needs_a_side_to_start_from(client, fields, wrong):
    error = await refusal(client.prompts.ListPromptLinks(pb.ListPromptLinksRequest(**fields)))

    assert fields_of(error) == wrong


async def test_webhooks_are_told_of_prompts_and_not_of_models(client):
    event = webhooks_pb.WebhookEvent(entity="PROMPT_VERSION", action="CREATED")
    other = webhooks_pb.WebhookEvent(entity="MODEL_VERSION", action="CREATED")
    hook = webhooks_pb.CreateWebhookRequest(name="hook", url="http://127.0.0.1:1024/", events=[event, other])
    created = await client.webhooks.CreateWebhook(hook)

    await client.create(commit_message="begin", tags=[types.Tag(key="team", value="nlp")])
    log = await client.webhooks.ListDeliveries(
        webhooks_pb.ListDeliveriesRequest(webhook_id=created.webhook.webhook_id)
    )

    [delivery] = log.deliveries
    body = json.loads(delivery.body_json)
    assert (body["entity"], body["action"]) == ("prompt_version", "created")
    assert body["data"] == {
        "name": "greeting",
        "version": "1",
        "template": "Hello {{name}}!",
        "tags": {"team": "nlp"},
        "description": "begin",
    }


async def test_examples_of_events_have_the_fields_of_real_ones(client):
    """What a test call sends is what a receiver will get."""
    asked = ["PROMPT", "PROMPT_VERSION", "PROMPT_ALIAS", "PROMPT_VERSION_TAG", "PROMPT_TAG", "PROMOTION"]
    events = [
        webhooks_pb.WebhookEvent(entity=entity, action=action)
        for entity in asked
        for action in EXAMPLES[entity]
    ]
    hook = webhooks_pb.CreateWebhookRequest(name="hook", url="http://127.0.0.1:1024/", events=events)
    created = await client.webhooks.CreateWebhook(hook)
    await client.create()
    await promote(client, 1, "production")
    tag = types.Tag(key="a", value="b")
    for version in (0, 1):
        for change in ({"set": [tag]}, {"delete_keys": ["a"]}):
            await client.models.ChangeTags(
                models_pb.ChangeTagsRequest(name="greeting", version=version, **change)
            )
    await client.models.UpdateModel(models_pb.UpdateModelRequest(name="greeting", description="d"))
    update = models_pb.UpdateVersionRequest(name="greeting", version=1, description="d")
    await client.models.UpdateVersion(update)
    await client.models.DeleteAlias(models_pb.DeleteAliasRequest(name="greeting", alias="production"))
    await client.models.DeleteVersion(models_pb.DeleteVersionRequest(name="greeting", version=1))
    await client.models.DeleteModel(models_pb.DeleteModelRequest(name="greeting"))

    log = await client.webhooks.ListDeliveries(
        webhooks_pb.ListDeliveriesRequest(webhook_id=created.webhook.webhook_id)
    )
    sent = {
        (delivery.event.entity, delivery.event.action): json.loads(delivery.body_json)["data"].keys()
        for delivery in log.deliveries
    }
    assert sent == {
        (event.entity, event.action): EXAMPLES[event.entity][event.action].keys() for event in events
    }

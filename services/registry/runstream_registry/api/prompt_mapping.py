"""Prompts between messages and values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import struct_pb2
from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import prompt_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types

from runstream_registry import rules
from runstream_registry.entities import IS_PROMPT_TAG, PROMPT_CONTENT_TAGS, ByAlias, ByNumber
from runstream_registry.prompts.prompts import NewPromptVersion, template_of
from runstream_registry.prompts.templates import Message, Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_registry.entities import Model, Selector, Version
    from runstream_registry.prompts.prompt_links import PromptLink


def new_version(request: pb.CreatePromptVersionRequest, actor: str) -> NewPromptVersion:
    """A version to make."""
    return NewPromptVersion(
        name=request.name,
        template=_template(request.template),
        actor=actor,
        expected_variables=list(request.expected_variables),
        model_config=_json_object(request.model_config),
        response_format=_json_object(request.response_format),
        commit_message=request.commit_message,
        tags=_pairs(request.tags),
        prompt_tags=_pairs(request.prompt_tags),
        version_id=request.version_id,
    )


def selector(request: pb.GetPromptVersionRequest | pb.RenderPromptRequest) -> Selector:
    """Which version is asked for.

    Raises:
        InvalidArgument: neither number nor alias is given.
    """
    chosen = request.WhichOneof("selector")
    if chosen is None:
        raise InvalidArgument.of("selector", "needs a version or an alias")
    if chosen == "version":
        return ByNumber(rules.version_number(request.version))
    return ByAlias(rules.alias(request.alias, reserved=True))


def version_message(version: Version) -> pb.PromptVersion:
    """A version with its template."""
    template, config, response_format = template_of(version)
    return pb.PromptVersion(
        name=version.name,
        version=version.version,
        template=template_message(template),
        variables=template.variables,
        model_config=_struct(config),
        response_format=_struct(response_format),
        commit_message=version.description or "",
        user_id=version.user_id,
        creation_time_ms=version.creation_time_ms,
        aliases=version.aliases,
        tags=_tags(version.tags, PROMPT_CONTENT_TAGS),
    )


def prompt_message(model: Model) -> pb.Prompt:
    """A prompt without its versions."""
    return pb.Prompt(
        name=model.name,
        description=model.description,
        creation_time_ms=model.creation_time_ms,
        last_updated_time_ms=model.last_updated_time_ms,
        tags=_tags(model.tags, {IS_PROMPT_TAG}),
        aliases=[types.Alias(alias=alias, version=version) for alias, version in model.aliases.items()],
        latest_version=max((version.version for version in model.latest_versions), default=0),
    )


def template_message(template: Template) -> pb.Template:
    """A template."""
    if template.text is not None:
        return pb.Template(text=template.text)
    messages = [pb.ChatMessage(role=item.role, content=item.content) for item in template.messages]
    return pb.Template(chat=pb.Chat(messages=messages))


def link_message(link: PromptLink) -> pb.PromptLink:
    """A link."""
    return pb.PromptLink(
        name=link.name, version=link.version, kind=link.kind, id=link.user_id, time_ms=link.time_ms
    )


def _template(message: pb.Template) -> Template:
    if message.WhichOneof("template") == "text":
        return Template(message.text)
    return Template(None, [Message(item.role, item.content) for item in message.chat.messages])


def _pairs(tags: Iterable[types.Tag]) -> list[tuple[str, str]]:
    return [(tag.key, tag.value) for tag in tags]


def _tags(tags: Mapping[str, str], without: Iterable[str]) -> list[types.Tag]:
    hidden = frozenset(without)
    return [types.Tag(key=key, value=value) for key, value in tags.items() if key not in hidden]


def _json_object(struct: struct_pb2.Struct) -> dict[str, Any]:
    """As JSON values, infinite numbers included: the rules name them, where a library would only fail."""
    return {key: _json_value(value) for key, value in struct.fields.items()}


def _json_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _json_object(value.struct_value)
        case "list_value":
            return [_json_value(item) for item in value.list_value.values]
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _struct(text: str) -> struct_pb2.Struct | None:
    """The JSON object in a tag; None when there is none that a message can hold."""
    try:
        content = json.loads(text) if text else None
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    struct = struct_pb2.Struct()
    struct.update(content)
    return struct

"""Flows over prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct
from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import prompt_service_pb2 as pb

from runstream.query.client_calls import Flow, Page, ready
from runstream.query.frames import time_of
from runstream.registry.calls import PROMPTS, ask, nothing, selector_of, version_number
from runstream.registry.results_prompts import (
    ChatMessage,
    Prompt,
    PromptDiff,
    PromptLink,
    PromptVersion,
    RenderedPrompt,
)
from runstream.registry.translation import tags_to_proto, text_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    TemplateLike: TypeAlias = str | Sequence[ChatMessage | Mapping[str, str]]


def create_version(
    name: str,
    template: TemplateLike,
    *,
    expected_variables: Sequence[str],
    model_config: Mapping[str, Any] | None,
    response_format: Mapping[str, Any] | None,
    commit_message: str,
    tags: Mapping[str, object] | None,
    prompt_tags: Mapping[str, object] | None,
) -> Flow[PromptVersion]:
    """Create the next version, and the prompt if there is none."""
    request = pb.CreatePromptVersionRequest(
        name=name,
        template=template_to_proto(template),
        expected_variables=expected_variables,
        model_config=_struct("model_config", model_config),
        response_format=_struct("response_format", response_format),
        commit_message=commit_message,
        tags=tags_to_proto(tags),
        prompt_tags=tags_to_proto(prompt_tags),
    )
    return ask(PROMPTS, "CreatePromptVersion", request, lambda a: version_of(a.version))


def template_to_proto(template: TemplateLike) -> pb.Template:
    """A text, or messages with role and content, as a request takes them.

    Raises:
        InvalidArgument: a message has no role or no content.
    """
    if isinstance(template, str):
        return pb.Template(text=template)
    messages = [_message(number, item) for number, item in enumerate(template)]
    return pb.Template(chat=pb.Chat(messages=messages))


def _message(number: int, item: ChatMessage | Mapping[str, str]) -> pb.ChatMessage:
    if isinstance(item, ChatMessage):
        return pb.ChatMessage(role=item.role, content=item.content)
    try:
        return pb.ChatMessage(role=item["role"], content=item["content"])
    except (KeyError, TypeError) as error:
        raise InvalidArgument.of(f"template[{number}]", "is no message with role and content") from error


def _struct(field: str, value: Mapping[str, Any] | None) -> Struct | None:
    if not value:
        return None
    try:
        return ParseDict(dict(value), Struct())
    except ParseError as error:
        raise InvalidArgument.of(field, f"is no JSON object: {error}") from error


def get_version(name: str, version: int | str | None, alias: str) -> Flow[PromptVersion]:
    """Read a version by number or alias."""
    request = pb.GetPromptVersionRequest(name=name, **_selector(version, alias))
    return ask(PROMPTS, "GetPromptVersion", request, lambda a: version_of(a.version))


def _selector(version: int | str | None, alias: str) -> dict[str, Any]:
    selector = selector_of(version, alias)
    field = selector.WhichOneof("selector") or "version"
    return {field: getattr(selector, field)}


def render(
    name: str, version: int | str | None, alias: str, variables: Mapping[str, object]
) -> Flow[RenderedPrompt]:
    """Let the service fill a template."""
    texts = {key: str(value) for key, value in variables.items()}
    request = pb.RenderPromptRequest(name=name, variables=texts, **_selector(version, alias))
    return ask(
        PROMPTS, "RenderPrompt", request, lambda a: RenderedPrompt(a.version, _template_of(a.template))
    )


def search_request(
    filter_text: str, order_by: Sequence[str], page_size: int
) -> Flow[pb.SearchPromptsRequest]:
    """The first page's request."""
    return ready(pb.SearchPromptsRequest(filter=filter_text, order_by=order_by, page_size=page_size))


def prompt_page(request: pb.SearchPromptsRequest) -> Flow[Page[Prompt]]:
    """One page of a search; its token goes into the request for the next."""
    return ask(
        PROMPTS,
        "SearchPrompts",
        request,
        lambda a: Page(tuple(_prompt_of(item) for item in a.prompts), a.next_page_token),
    )


def versions_request(name: str, page_size: int) -> Flow[pb.ListPromptVersionsRequest]:
    """The first page's request."""
    return ready(pb.ListPromptVersionsRequest(name=name, page_size=page_size))


def version_page(request: pb.ListPromptVersionsRequest) -> Flow[Page[PromptVersion]]:
    """One page of the versions of a prompt; its token goes into the request for the next."""
    return ask(
        PROMPTS,
        "ListPromptVersions",
        request,
        lambda a: Page(tuple(version_of(item) for item in a.versions), a.next_page_token),
    )


def diff(name: str, before: int | str, after: int | str) -> Flow[PromptDiff]:
    """Compare two versions."""
    first = yield from _number(name, before)
    second = yield from _number(name, after)
    request = pb.DiffPromptVersionsRequest(name=name, from_version=first, to_version=second)
    found: PromptDiff = yield from ask(
        PROMPTS, "DiffPromptVersions", request, lambda a: _diff_of(name, first, second, a)
    )
    return found


def _number(name: str, version: int | str) -> Flow[int]:
    """The number of a version; an alias is looked up. Prompts are registered models too."""
    return version_number(name, version)


def link(name: str, version: int | str, *, run_id: str, trace_id: str) -> Flow[None]:
    """Note that a run or trace used a version."""
    if bool(run_id) == bool(trace_id):
        raise InvalidArgument.of("run_id", "give a run_id or a trace_id, and not both")
    request = pb.LinkPromptVersionRequest(
        name=name,
        version=(yield from _number(name, version)),
        kind="run" if run_id else "trace",
        id=run_id or trace_id,
    )
    yield from ask(PROMPTS, "LinkPromptVersion", request, nothing)


def links_request(
    name: str, version: int, run_id: str, trace_id: str, page_size: int
) -> Flow[pb.ListPromptLinksRequest]:
    """The first page's request."""
    kind = "run" if run_id else "trace" if trace_id else ""
    return ready(
        pb.ListPromptLinksRequest(
            name=name, version=version, kind=kind, id=run_id or trace_id, page_size=page_size
        )
    )


def link_page(request: pb.ListPromptLinksRequest) -> Flow[Page[PromptLink]]:
    """One page of links; its token goes into the request for the next."""
    return ask(
        PROMPTS,
        "ListPromptLinks",
        request,
        lambda a: Page(
            tuple(PromptLink(m.name, m.version, m.kind, m.id, time_of(m.time_ms)) for m in a.links),
            a.next_page_token,
        ),
    )


def version_of(message: pb.PromptVersion) -> PromptVersion:
    """The version in an answer."""
    return PromptVersion(
        name=message.name,
        version=message.version,
        template=_template_of(message.template),
        variables=tuple(message.variables),
        model_config=MessageToDict(message.model_config),
        response_format=MessageToDict(message.response_format),
        commit_message=message.commit_message,
        user_id=message.user_id,
        creation_time=time_of(message.creation_time_ms),
        aliases=tuple(message.aliases),
        tags=text_map(message.tags),
    )


def _template_of(message: pb.Template) -> str | tuple[ChatMessage, ...]:
    if message.WhichOneof("template") == "chat":
        return tuple(ChatMessage(item.role, item.content) for item in message.chat.messages)
    return message.text


def _prompt_of(message: pb.Prompt) -> Prompt:
    return Prompt(
        name=message.name,
        description=message.description,
        creation_time=time_of(message.creation_time_ms),
        last_updated_time=time_of(message.last_updated_time_ms),
        tags=text_map(message.tags),
        aliases={item.alias: item.version for item in message.aliases},
        latest_version=message.latest_version,
    )


def _diff_of(name: str, before: int, after: int, message: pb.DiffPromptVersionsResponse) -> PromptDiff:
    return PromptDiff(
        name=name,
        from_version=before,
        to_version=after,
        template_diff=message.template_diff,
        added_variables=tuple(message.added_variables),
        removed_variables=tuple(message.removed_variables),
        model_config_diff=message.model_config_diff,
        response_format_diff=message.response_format_diff,
    )

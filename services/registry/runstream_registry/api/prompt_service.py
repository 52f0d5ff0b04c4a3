"""gRPC handlers of PromptService: translate, call, translate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from runstream_common.rpc.server import Registration
from runstream_common.search.keyset import PRESENT, KeyAt, KeyShape
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest
from runstream_common.search.pages import checked_page_size
from runstream_proto.registry.v1 import prompt_service_pb2 as pb
from runstream_proto.registry.v1 import prompt_service_pb2_grpc as pb_grpc

from runstream_registry import rules
from runstream_registry.api import prompt_mapping as mapping
from runstream_registry.api.actor import actor_of
from runstream_registry.prompts.prompt_diff import diff_versions
from runstream_registry.prompts.prompt_links import LinkFilter
from runstream_registry.prompts.prompts import template_of
from runstream_registry.prompts.templates import render
from runstream_registry.search.searches import Search

if TYPE_CHECKING:
    import grpc

    from runstream_registry.prompts.prompt_links import PromptLinks
    from runstream_registry.prompts.prompts import Prompts

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000
_NUMBER: Final = (KeyShape(int),)


class PromptService(pb_grpc.PromptServiceServicer):
    """Prompts over gRPC."""

    def __init__(self, prompts: Prompts, links: PromptLinks) -> None:
        self._prompts = prompts
        self._links = links

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["PromptService"].full_name,
            pb_grpc.add_PromptServiceServicer_to_server,
            self,
        )

    async def CreatePromptVersion(
        self, request: pb.CreatePromptVersionRequest, context: Context
    ) -> pb.CreatePromptVersionResponse:
        """Create a version, and the prompt if there is none."""
        version = await self._prompts.create(mapping.new_version(request, actor_of(context)))
        return pb.CreatePromptVersionResponse(version=mapping.version_message(version))

    async def GetPromptVersion(
        self, request: pb.GetPromptVersionRequest, context: Context
    ) -> pb.GetPromptVersionResponse:
        """Read one version."""
        name = rules.required_name(request.name)
        version = await self._prompts.get(name, mapping.selector(request))
        return pb.GetPromptVersionResponse(version=mapping.version_message(version))

    async def SearchPrompts(
        self, request: pb.SearchPromptsRequest, context: Context
    ) -> pb.SearchPromptsResponse:
        """One page of a search."""
        search = Search(request.filter, list(request.order_by), request.page_size, request.page_token)
        prompts, token = await self._prompts.search(search)
        return pb.SearchPromptsResponse(
            prompts=[mapping.prompt_message(prompt) for prompt in prompts], next_page_token=token
        )

    async def ListPromptVersions(
        self, request: pb.ListPromptVersionsRequest, context: Context
    ) -> pb.ListPromptVersionsResponse:
        """One page of the versions."""
        name = rules.required_name(request.name)
        before = _decode(request.page_token, "versions", name)
        versions, more = await self._prompts.page(name, before, _page_size(request.page_size))
        token = _encode(versions[-1].version, "versions", name) if more and versions else ""
        return pb.ListPromptVersionsResponse(
            versions=[mapping.version_message(version) for version in versions], next_page_token=token
        )

    async def DiffPromptVersions(
        self, request: pb.DiffPromptVersionsRequest, context: Context
    ) -> pb.DiffPromptVersionsResponse:
        """Compare two versions."""
        name = rules.required_name(request.name)
        older = rules.version_number(request.from_version, "from_version")
        newer = rules.version_number(request.to_version, "to_version")
        diff = await diff_versions(self._prompts, name, older, newer)
        return pb.DiffPromptVersionsResponse(**dataclasses.asdict(diff))

    async def RenderPrompt(
        self, request: pb.RenderPromptRequest, context: Context
    ) -> pb.RenderPromptResponse:
        """Fill the variables."""
        name = rules.required_name(request.name)
        version = await self._prompts.get(name, mapping.selector(request))
        template, _, _ = template_of(version)
        rendered = render(template, dict(request.variables))
        return pb.RenderPromptResponse(template=mapping.template_message(rendered), version=version.version)

    async def LinkPromptVersion(
        self, request: pb.LinkPromptVersionRequest, context: Context
    ) -> pb.LinkPromptVersionResponse:
        """Note a use."""
        name = rules.required_name(request.name)
        version = rules.version_number(request.version)
        await self._links.link(name, version, request.kind, request.id)
        return pb.LinkPromptVersionResponse()

    async def ListPromptLinks(
        self, request: pb.ListPromptLinksRequest, context: Context
    ) -> pb.ListPromptLinksResponse:
        """One page of uses."""
        version = rules.version_number(request.version) if request.version else 0
        name = rules.required_name(request.name) if request.name else ""
        wanted = LinkFilter(name, version, request.kind, request.id)
        scope = ("links", *dataclasses.astuple(wanted))
        before = _decode(request.page_token, *scope)
        size = _page_size(request.page_size)
        found = await self._links.page(wanted, before, size + 1)
        page = found[:size]
        token = _encode(page[-1].link_number, *scope) if len(found) > size else ""
        return pb.ListPromptLinksResponse(
            links=[mapping.link_message(link) for link in page], next_page_token=token
        )


def _page_size(page_size: int) -> int:
    return checked_page_size(page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)


def _encode(number: int, *scope: object) -> str:
    return encode_token(search_digest(*scope), (KeyAt(PRESENT, number),))


def _decode(token: str, *scope: object) -> int | None:
    position = decode_token(token, search_digest(*scope), _NUMBER)
    return None if position is None else position[0].value

"""Puts the parts of the service together that prompts need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.api.prompt_service import PromptService
from runstream_registry.prompts.prompt_links import PromptLinks
from runstream_registry.prompts.prompts import Prompts

if TYPE_CHECKING:
    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.rpc.server import Registration

    from runstream_registry.models.versions import Versions
    from runstream_registry.search.searches import Searches


def prompt_registration(
    database: Database, clock: Clock, versions: Versions, searches: Searches
) -> Registration:
    """What the server registers for prompts."""
    prompts = Prompts(database, versions, searches)
    return PromptService(prompts, PromptLinks(database, clock)).registration()

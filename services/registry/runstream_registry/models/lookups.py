"""Looks versions up, and says precisely why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from runstream_registry.entities import ByAlias, ByNumber, ByStage
from runstream_registry.errors import AliasNotFound, ModelNotFound, VersionNotFound
from runstream_registry.store import version_queries

if TYPE_CHECKING:
    from asyncpg import Connection

    from runstream_registry.entities import Selector, Version

T = TypeVar("T")


async def existing(connection: Connection, name: str, number: int) -> Version:
    """A version with everything, in the caller's transaction.

    Raises:
        ModelNotFound, VersionNotFound: there is none.
    """
    selector = ByNumber(number)
    found, version = await version_queries.select_version(connection, name, selector)
    return existing_version(name, selector, found, version)


def existing_version(name: str, selector: Selector, model_exists: bool, version: T | None) -> T:
    """The version that was looked up, or why there is none.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: which of them depends on the selector.
    """
    if version is not None:
        return version
    if not model_exists:
        raise ModelNotFound(name)
    match selector:
        case ByNumber():
            raise VersionNotFound(name, selector.version)
        case ByAlias() if selector.alias.lower() != "latest":
            raise AliasNotFound(name, selector.alias)
        case ByStage():
            raise VersionNotFound(name, f"version in stage {selector.stage.label}")
        case _:
            raise VersionNotFound(name, "version")

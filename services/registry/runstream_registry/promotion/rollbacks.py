"""Which version a target goes back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.entities import VersionStatus
from runstream_registry.promotion_errors import NoPreviousVersion
from runstream_registry.store import promotion_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from runstream_registry.promotion_entities import Target, TargetFacts

MAX_HISTORY = 10_000
"""Promotions of one target that are looked back on."""


async def previous_version(connection: Connection, facts: TargetFacts, target: Target) -> int:
    """The version that a rollback brings back: the one that the target held before the present one and that is READY.

    Args:
        facts: with the version that the target holds now.

    Raises:
        NoPreviousVersion: there is none.
    """
    history = await promotion_queries.select_history(connection, facts.model_id, target, MAX_HISTORY)
    held = held_versions(history)
    usable = await promotion_queries.select_usable(connection, facts.model_id, set(held), VersionStatus.READY)
    for version in reversed(held):
        if version != facts.current_version and version in usable:
            return version
    raise NoPreviousVersion(facts.name, target)


def held_versions(history: Sequence[tuple[int, bool]]) -> list[int]:
    """The versions that a target held, oldest first, without those that were rolled back.

    So a second rollback goes further back instead of returning to what the first one left.

    Args:
        history: the promotions as (version, whether it was a rollback), oldest first.
    """
    held: list[int] = []
    for version, rollback in history:
        if rollback and version in held:
            while held[-1] != version:
                held.pop()
        else:
            held.append(version)
    return held

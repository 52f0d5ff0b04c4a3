"""What used a prompt version: notes of runs and traces.

They are records of use, of which there may be many a second; no change of the registry, so the audit trail leaves them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations
from runstream_contract.names import is_run_id

from runstream_registry import rules
from runstream_registry.errors import VersionNotFound
from runstream_registry.prompts.prompts import prompt_id
from runstream_registry.store import prompt_link_repository as repository
from runstream_registry.store.prompt_link_repository import LinkFilter, PromptLink

if TYPE_CHECKING:
    from runstream_common.clock import Clock
    from runstream_common.database import Database


__all__ = ["LinkFilter", "PromptLink", "PromptLinks"]

RUN: Final = "run"
TRACE: Final = "trace"
MAX_TRACE_ID_LENGTH: Final = 256


class PromptLinks:
    """Use cases around links."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def link(self, name: str, version: int, kind: str, user_id: str) -> None:
        """Note that a run or trace used a version; a repeated call changes nothing.

        Args:
            kind: RUN or TRACE.
            user_id: id of the run or trace.

        Raises:
            PromptNotFound: there is no such prompt.
            VersionNotFound: it has no such version.
        """
        violations = Violations()
        check_user(kind, user_id, violations)
        violations.check()
        async with self._database.driver() as connection:
            model_id = await prompt_id(connection, name)
            if not await repository.insert(
                connection, model_id, version, kind, user_id, self._clock.now_ms()
            ):
                raise VersionNotFound(name, version)

    async def page(self, wanted: LinkFilter, before: int | None, limit: int) -> list[PromptLink]:
        """Links before one with this number, newest first."""
        if wanted.kind:
            violations = Violations()
            check_user(wanted.kind, wanted.user_id or None, violations)
            violations.check()
        if wanted.user_id and not wanted.kind:
            raise InvalidArgument.of("kind", "is required with an id")
        if not wanted.name and not wanted.user_id:
            raise InvalidArgument.of("name", "is required unless kind and id are given")
        if wanted.version and not wanted.name:
            raise InvalidArgument.of("name", "is required with a version")
        if wanted.name:
            rules.required_name(wanted.name)
        async with self._database.driver() as connection:
            model_id = await prompt_id(connection, wanted.name) if wanted.name else None
            return await repository.select_page(connection, wanted, model_id, before, limit)


def check_user(kind: str, user_id: str | None, violations: Violations) -> None:
    """Note a kind or id that there is none of.

    Args:
        user_id: None: not given, and need not be.
    """
    if kind not in {RUN, TRACE}:
        violations.add("kind", f'must be "{RUN}" or "{TRACE}"')
    elif user_id == "":
        violations.add("id", "is required")
    elif user_id is not None and kind == RUN and not is_run_id(user_id):
        violations.add("id", "must be a run id: 32 lowercase hexadecimal characters")
    elif user_id is not None:
        rules.text("id", user_id, MAX_TRACE_ID_LENGTH, violations)

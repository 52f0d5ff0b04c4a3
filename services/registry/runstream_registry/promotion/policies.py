"""Policies: stored in revisions, found for a promotion."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from asyncpg import UniqueViolationError
from runstream_common.database import retry_on_conflict
from runstream_common.errors import InvalidArgument

from runstream_registry.changes import POLICIES_CHAIN, Change, record_change
from runstream_registry.policy.documents import NAME_RULE, is_plain_name, read_document
from runstream_registry.policy.entities import Policy
from runstream_registry.promotion_errors import PolicyChanged, PolicyNotFound, TooManyPolicies
from runstream_registry.store import audit_repository, policy_repository
from runstream_registry.store.policy_repository import PolicyRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.promotion_entities import Target

MAX_POLICIES = 500
"""In force at once: each promotion looks at all of them, and a list of them has one page."""

CACHED_REVISIONS = 1_000
"""Revisions never change, so that they are read and checked once; this bounds what is kept of them."""


class PolicyReader:
    """Finds the policies in force, with their documents remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Policy] = OrderedDict()

    async def in_force(self, connection: Connection) -> list[Policy]:
        """All policies in force, by name."""
        wanted = await policy_repository.select_in_force(connection)
        found = {key: self._known[key] for key in wanted if key in self._known}
        missing = [key for key in wanted if key not in found]
        if missing:
            rows = await policy_repository.select_many(connection, missing)
            fresh = {(row.name, row.revision): policy_of(row) for row in rows}
            self._remember(fresh)
            found |= fresh
        return [found[key] for key in wanted]

    async def applying(self, connection: Connection, model: str, target: Target) -> list[Policy]:
        """The policies in force that apply to a promotion, by name."""
        return [
            policy
            for policy in await self.in_force(connection)
            if policy.document.applies_to(model, target.path)
        ]

    def _remember(self, policies: Mapping[tuple[str, int], Policy]) -> None:
        self._known.update(policies)
        while len(self._known) > CACHED_REVISIONS:
            self._known.popitem(last=False)


class Policies:
    """Use cases around policies; owns their transactions.

    Args:
        database: where they are.
        clock: time of revisions.
        reader: finds those in force.
    """

    def __init__(self, database: Database, clock: Clock, reader: PolicyReader) -> None:
        self._database = database
        self._clock = clock
        self._reader = reader

    async def put(
        self, name: str, fields: Mapping[str, Any], *, actor: str, expected_revision: int | None, reason: str
    ) -> Policy:
        """Store a document as the next revision; the same document again changes nothing.

        Args:
            fields: the document under the field names of the .proto.
            expected_revision: that must be in force, 0 for none; None means any.

        Raises:
            InvalidArgument: name or document are wrong; every breach is named.
            PolicyChanged: another revision is in force, or somebody else was faster.
            TooManyPolicies: there is no place for another one.
        """
        if not is_plain_name(name):
            raise InvalidArgument.of("name", NAME_RULE)
        read_document(fields)
        if expected_revision is not None:
            return await self._put(name, fields, actor, expected_revision, reason)
        return await retry_on_conflict(lambda: self._put(name, fields, actor, None, reason))

    async def get(self, name: str, revision: int) -> Policy:
        """A revision, the newest when it is 0; also of a policy that is no longer in force.

        Raises:
            PolicyNotFound: there is none.
        """
        async with self._database.driver() as connection:
            row = await policy_repository.select(connection, name, revision)
        if row is None:
            raise PolicyNotFound(name, revision)
        return policy_of(row)

    async def find(self, model: str, target: Target | None) -> Sequence[Policy]:
        """The policies in force, by name.

        Args:
            model: only those for this model; empty means all.
            target: only those for this target.
        """
        async with self._database.driver() as connection:
            policies = await self._reader.in_force(connection)
        if not model:
            return policies
        if target is not None:
            return [policy for policy in policies if policy.document.applies_to(model, target.path)]
        return [policy for policy in policies if policy.document.applies_to_model(model)]

    async def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Take a policy out of force with a revision that says so.

        Raises:
            PolicyNotFound: it is not in force.
        """
        async with self._database.driver() as connection, connection.transaction():
            newest = await policy_repository.select(connection, name)
            if newest is None or newest.deleted:
                raise PolicyNotFound(name)
            await self._add(connection, name, newest, None, actor=actor, reason=reason)

    async def _put(
        self, name: str, fields: Mapping[str, Any], actor: str, expected_revision: int | None, reason: str
    ) -> Policy:
        async with self._database.driver() as connection, connection.transaction():
            newest = await policy_repository.select(connection, name)
            _check_revision(name, newest, expected_revision)
            if newest is not None and not newest.deleted and json.loads(newest.document) == fields:
                return policy_of(newest)
            return await self._add(connection, name, newest, dict(fields), actor=actor, reason=reason)

    async def _add(
        self,
        connection: Connection,
        name: str,
        newest: PolicyRow | None,
        fields: dict[str, Any] | None,
        *,
        actor: str,
        reason: str,
    ) -> Policy:
        revision = newest.revision + 1 if newest else 1
        before = json.loads(newest.document) if newest and not newest.deleted else None
        if before is None:
            await _check_room(connection)
        now_ms = self._clock.now_ms()
        stored = json.dumps(before if fields is None else fields)
        row = PolicyRow(name, revision, stored, actor, now_ms, deleted=fields is None)
        try:
            await policy_repository.insert(connection, row)
        except UniqueViolationError as error:
            raise PolicyChanged(name, expected=revision - 1, current=revision) from error
        change = Change(
            chain=POLICIES_CHAIN,
            action="policy.deleted" if fields is None else "policy.stored",
            subject=name,
            actor=actor,
            reason=reason,
            before=None
            if before is None or newest is None
            else {"revision": newest.revision, "document": before},
            after={"revision": revision, "document": fields},
            time_ms=now_ms,
        )
        await record_change(connection, change, clock=self._clock)
        return policy_of(row)


async def _check_room(connection: Connection) -> None:
    # The chain's lock is taken first, so that two cannot both find the last place free.
    await audit_repository.lock_head(connection, POLICIES_CHAIN)
    if len(await policy_repository.select_in_force(connection)) >= MAX_POLICIES:
        raise TooManyPolicies(MAX_POLICIES)


def policy_of(row: PolicyRow) -> Policy:
    """A stored revision with its document read."""
    fields = json.loads(row.document)
    return Policy(
        name=row.name,
        revision=row.revision,
        fields=fields,
        document=read_document(fields),
        actor=row.actor,
        time_ms=row.time_ms,
        deleted=row.deleted,
    )


def _check_revision(name: str, newest: PolicyRow | None, expected: int | None) -> None:
    current = 0 if newest is None or newest.deleted else newest.revision
    if expected is not None and expected != current:
        raise PolicyChanged(name, expected=expected, current=current)

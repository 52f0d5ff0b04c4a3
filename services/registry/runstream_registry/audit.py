"""Reads the audit trail and recomputes its hash chains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from runstream_registry.audit_hash import FIRST_PREVIOUS_HASH, entry_hash
from runstream_registry.change_entities import model_chain
from runstream_registry.errors import ModelNotFound
from runstream_registry.promotion_errors import ChainNotFound
from runstream_registry.store import audit_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.database import Database

    from runstream_registry.store.audit_queries import EntryRow
    from runstream_registry.store.audit_repository import ChainHead

MAX_PROBLEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change as it was recorded.

    Args:
        row: with the JSON text that the hash covers.
        fields: the same text read; empty when somebody made it something else than a JSON object.
    """

    row: EntryRow
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first entry of a chain that is wrong or missing, and why."""

    chain: str
    sequence: int
    message: str


@dataclass(slots=True)
class AuditReport:
    """What recomputing found; no problems means that all is well.

    Args:
        heads_digest: SHA-256 over the lines "<chain> <sequence> <hash>\\n" of all chains in the bytewise order of
            their names, 64 lowercase hexadecimal characters.
    """

    chain_count: int = 0
    entry_count: int = 0
    problems: list[AuditProblem] = field(default_factory=list)
    heads_digest: str = ""


class Audit:
    """Use cases around the audit trail.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, name: str, chain: str, *, before: tuple[int, str, int] | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Entries, newest first.

        Args:
            name: only of the model that has, or had last, this name; empty means all.
            chain: only of this chain; empty means all.
            before: time, chain and sequence that the page comes after.

        Raises:
            ModelNotFound: there never was a model of that name.
        """
        async with self._database.driver() as connection:
            if name:
                model_id = await audit_queries.select_model_id(connection, name)
                if model_id is None:
                    raise ModelNotFound(name)
                if chain not in {"", model_chain(model_id)}:
                    return []
                chain = model_chain(model_id)
            rows = await audit_queries.select_page(connection, chain or None, before=before, limit=limit)
        return [AuditEntry(row, _fields(row.content)) for row in rows]

    async def verify(self, only_chain: str) -> AuditReport:
        """Recompute the chains, entry by entry, in one snapshot; memory does not grow with their length.

        Finds entries that were changed, removed, inserted or put into another order, tails that were cut off, heads
        that were changed, and columns that disagree with the content. Who can write to the database can also forge
        a whole chain with its head: that shows only against a ``heads_digest`` that is kept elsewhere.

        Args:
            only_chain: empty means all.

        Raises:
            ChainNotFound: there is no chain of that name.
        """
        report, digest, wanted = AuditReport(), hashlib.sha256(), only_chain or None
        async with (
            self._database.driver() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            entries = _Entries(audit_queries.entries(connection, wanted))
            async for chain, head in audit_queries.heads(connection, wanted):
                digest.update(f"{chain} {head.sequence} {head.hash.hex()}\n".encode())
                await _check_headless(entries, report, before=chain)
                report.chain_count += 1
                _note(report, await _check_chain(entries, chain, head, report))
            await _check_headless(entries, report, before=None)
        if wanted is not None and not report.chain_count and not report.problems:
            raise ChainNotFound(only_chain)
        report.heads_digest = digest.hexdigest()
        return report


class _Entries:
    """The entries in their order, with a look at the next one."""

    def __init__(self, rows: AsyncIterator[EntryRow]) -> None:
        self._rows = rows
        self._next: EntryRow | None = None

    async def peek(self) -> EntryRow | None:
        """The next entry, which stays the next one; None at the end."""
        if self._next is None:
            self._next = await anext(self._rows, None)
        return self._next

    def drop(self) -> None:
        """Go on to the one after the next."""
        self._next = None


async def _check_chain(
    entries: _Entries, chain: str, head: ChainHead, report: AuditReport
) -> AuditProblem | None:
    """Recompute one chain and go on to the next one; its first problem."""
    problem: AuditProblem | None = None
    sequence, previous_hash = 0, FIRST_PREVIOUS_HASH
    while (row := await entries.peek()) is not None and row.chain == chain:
        message = "" if problem else _problem_of(row, sequence + 1, previous_hash)
        if message:
            problem = AuditProblem(chain, sequence + 1, message)
        sequence, previous_hash = row.sequence, row.hash
        report.entry_count += 1
        entries.drop()
    return problem or _problem_of_head(chain, head, sequence, previous_hash)


async def _check_headless(entries: _Entries, report: AuditReport, *, before: str | None) -> None:
    """Note chains that have entries but no head: those before a name, or all that are left."""
    last = ""
    while (row := await entries.peek()) is not None and (before is None or row.chain < before):
        if row.chain != last:
            _note(report, AuditProblem(row.chain, row.sequence, "the chain has entries but no head"))
        last = row.chain
        report.entry_count += 1
        entries.drop()


def _note(report: AuditReport, problem: AuditProblem | None) -> None:
    if problem is not None and len(report.problems) < MAX_PROBLEMS:
        report.problems.append(problem)


def _problem_of(row: EntryRow, expected_sequence: int, previous_hash: bytes) -> str:
    if row.sequence != expected_sequence:
        return f"entry {expected_sequence} is missing; the next one is {row.sequence}"
    if entry_hash(previous_hash, row.content) != row.hash:
        return "content and hash disagree: the entry was changed, inserted or moved"
    return _disagreement(row)


def _disagreement(row: EntryRow) -> str:
    """Which column says something else than the content, whose hash is right; empty when none does."""
    fields = _fields(row.content)
    if not fields:
        return "the content is no JSON object"
    for name in ("chain", "sequence", "time_ms", "subject"):
        if fields.get(name) != getattr(row, name):
            return f"the column {name} disagrees with the content"
    return ""


def _fields(content: str) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _problem_of_head(chain: str, head: ChainHead, sequence: int, last_hash: bytes) -> AuditProblem | None:
    if head.sequence > sequence:
        message = f"the end is missing: the head says {head.sequence} entries, there are {sequence}"
        return AuditProblem(chain, sequence + 1, message)
    if head.sequence < sequence:
        message = f"the head says {head.sequence} entries, there are {sequence}"
        return AuditProblem(chain, head.sequence + 1, message)
    if sequence and head.hash != last_hash:
        return AuditProblem(chain, sequence, "the head's hash is not that of the last entry")
    return None

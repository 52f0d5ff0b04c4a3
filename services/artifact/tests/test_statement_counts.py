"""C1: announcing and completing files costs the same number of statements whatever their number."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from asyncpg.connection import Connection

from services.artifact.tests.support import announced, run_owner

if TYPE_CHECKING:
    from services.artifact.tests.support import Door


@pytest.fixture
def count_statements(monkeypatch):
    """Counts the statements with arguments that are sent to the database inside the block."""
    sent: list[str] = []
    original = Connection._execute

    async def counted(self, query, *arguments, **options):
        sent.append(query)
        return await original(self, query, *arguments, **options)

    @contextmanager
    def counting():
        sent.clear()
        yield sent

    monkeypatch.setattr(Connection, "_execute", counted)
    return counting


async def statements(door: Door, count_statements, number: int) -> list[int]:
    owner, other = run_owner(), run_owner()
    files = {f"dir{index % 7}/{number}-{index}": f"{number}-{index}".encode() for index in range(number)}
    new = [announced(path, content) for path, content in files.items()]
    await door.put(owner, {"first": b"1"})
    with count_statements() as sent:
        outcomes = await door.create(owner, *new)
    opening = len(sent)
    for outcome in outcomes:
        await door.send_content(outcome.upload, files[outcome.upload.path])
    with count_statements() as sent:
        results = await door.complete(*(outcome.upload.upload_id for outcome in outcomes))
    completing = len(sent)
    assert {result.WhichOneof("result") for result in results} == {"artifact"}
    with count_statements() as sent:
        again = await door.create(other, *new)
    assert {outcome.WhichOneof("outcome") for outcome in again} == {"stored"}
    return [opening, completing, len(sent)]


async def test_many_files_take_as_many_statements_as_two(local_door: Door, count_statements) -> None:
    few = await statements(local_door, count_statements, 2)
    many = await statements(local_door, count_statements, 200)

    assert many == few
    assert max(many) <= 10

"""Links of runs to the logged models that they used and produced."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from runstream_metadata.entities import ModelOutput


class Role(IntEnum):
    """What a logged model is to a run."""

    INPUT = 1
    OUTPUT = 2


INSERT_LINKS = """
INSERT INTO metadata.run_model (run_id, role, model_id, step)
SELECT $1, $2, model_id, step
FROM unnest($3::text[], $4::bigint[]) WITH ORDINALITY AS new (model_id, step, position) ORDER BY position
"""

INSERT_MISSING_LINKS = f"{INSERT_LINKS} ON CONFLICT DO NOTHING"


async def insert_inputs(connection: Connection, run_id: str, model_ids: Sequence[str]) -> None:
    """Link a run to models that it used; links that are there stay."""
    steps = [0] * len(model_ids)
    await connection.execute(INSERT_MISSING_LINKS, run_id, Role.INPUT, model_ids, steps)


async def insert_outputs(connection: Connection, run_id: str, outputs: Sequence[ModelOutput]) -> None:
    """Link a run to models that it produced.

    Raises:
        asyncpg.UniqueViolationError: one of them is linked already, or comes twice; nothing is written.
    """
    model_ids = [output.model_id for output in outputs]
    steps = [output.step for output in outputs]
    await connection.execute(INSERT_LINKS, run_id, Role.OUTPUT, model_ids, steps)

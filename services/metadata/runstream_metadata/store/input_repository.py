"""The datasets that runs used: written, and listed by experiment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runstream_metadata.entities import DatasetSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from runstream_metadata.entities import DatasetInput

# What a dataset was first recorded with stays: its identity is (experiment, name, digest).
INSERT_DATASETS = """
INSERT INTO metadata.dataset (experiment_id, name, digest, source_type, source, schema, profile)
SELECT $1, name, digest, source_type, source, schema, profile
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    WITH ORDINALITY AS new (name, digest, source_type, source, schema, profile, position)
ORDER BY position
ON CONFLICT (experiment_id, name, digest) DO NOTHING
"""

INSERT_LINKS = """
INSERT INTO metadata.run_input (run_id, dataset_id, tags)
SELECT $2, d.dataset_id, new.tags::jsonb
FROM unnest($3::text[], $4::text[], $5::text[]) AS new (name, digest, tags)
JOIN metadata.dataset AS d ON d.experiment_id = $1 AND d.name = new.name AND d.digest = new.digest
ORDER BY d.dataset_id
ON CONFLICT (run_id, dataset_id) DO NOTHING
"""


SELECT_SUMMARIES = """
SELECT DISTINCT d.experiment_id, d.name, d.digest, coalesce(i.tags ->> $2, '') AS context
FROM metadata.dataset AS d JOIN metadata.run_input AS i USING (dataset_id)
WHERE d.experiment_id = ANY($1::bigint[])
ORDER BY 1, 2, 3, 4 LIMIT $3
"""


async def list_datasets(
    connection: Connection, experiment_ids: Sequence[int], context_tag: str, limit: int
) -> list[DatasetSummary]:
    """The datasets that runs of the experiments used, each once a context.

    Args:
        context_tag: the tag of a link that says the context.
        limit: most datasets.
    """
    rows = await connection.fetch(SELECT_SUMMARIES, experiment_ids, context_tag, limit)
    return [DatasetSummary(*row) for row in rows]


async def insert_inputs(
    connection: Connection, run_id: str, experiment_id: int, inputs: Sequence[DatasetInput]
) -> None:
    """Record datasets that are not there yet and link the run to them, inside the caller's transaction.

    Two statements, since the second must also see datasets that others committed during the first.
    """
    datasets = [item.dataset for item in inputs]
    names = [dataset.name for dataset in datasets]
    digests = [dataset.digest for dataset in datasets]
    await connection.execute(
        INSERT_DATASETS,
        experiment_id,
        names,
        digests,
        [dataset.source_type for dataset in datasets],
        [dataset.source for dataset in datasets],
        [dataset.schema for dataset in datasets],
        [dataset.profile for dataset in datasets],
    )
    tags = [json.dumps(dict(item.tags)) for item in inputs]
    await connection.execute(INSERT_LINKS, experiment_id, run_id, names, digests, tags)

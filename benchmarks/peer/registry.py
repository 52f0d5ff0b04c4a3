"""The peer's model registry: creating versions, and searching many of them."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from benchmarks import workload
from benchmarks.peer.http import PeerClient, PeerError
from benchmarks.peer.read import Latency, repeat
from benchmarks.peer.server import MlflowServer
from benchmarks.peer.write import CONNECTIONS, Rate, best_rate

CALLS = 50
SECONDS = 60.0


def create_version_rate(
    server: MlflowServer, seconds: float, *, connections: Sequence[int] = CONNECTIONS
) -> Rate:
    """Measure versions a second, each connection with a model of its own so that none waits for another's rows."""

    def writer(client: PeerClient) -> Callable[[], int]:
        name = f"model-{uuid.uuid4().hex[:12]}"
        client.post("registered-models/create", {"name": name})
        numbers = itertools.count(1)

        def write() -> int:
            body = {
                "name": name,
                "source": f"s3://models/{name}/{next(numbers)}",
                "tags": workload.VERSION_TAGS,
            }
            client.post("model-versions/create", body)
            return 1

        return write

    return best_rate(server, writer, seconds, connections)


def load_versions(server: MlflowServer) -> None:
    """Fill the registry with the workload's models and versions."""
    asyncio.run(_load(server.database_url))


def search_versions_latency(server: MlflowServer) -> Latency:
    """Time of the first page of the search that we answer too; the page is checked."""
    query: dict[str, str | int] = {
        "filter": workload.VERSION_FILTER,
        "order_by": workload.VERSION_ORDER_BY,
        "max_results": workload.VERSION_PAGE,
    }
    with server.connect() as client:

        def search() -> dict[str, Any]:
            return client.get("model-versions/search", query)

        found = search().get("model_versions", [])
        if len(found) != workload.VERSION_PAGE:
            raise PeerError(f"the search found {len(found)} versions")
        return repeat(search, calls=CALLS, seconds=SECONDS)


async def _load(database_url: str) -> None:
    models, versions = workload.REGISTRY_MODELS, workload.REGISTRY_VERSIONS
    rows = f"generate_series(0, {versions - 1}) AS i"
    name, number = f"'bench-' || i % {models}", f"i / {models} + 1"
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(
                f"""INSERT INTO registered_models (name, creation_time, last_updated_time, description)
                SELECT 'bench-' || i, {workload.START_MS}, {workload.START_MS}, ''
                FROM generate_series(0, {models - 1}) AS i"""
            )
            await connection.execute(
                f"""INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id,
                    current_stage, source, run_id, status, status_message, run_link)
                SELECT {name}, {number}, {workload.START_MS} + i, {workload.START_MS} + i, '', '', 'None',
                    's3://models/' || i, md5('run-' || i), 'READY', '', '' FROM {rows}"""
            )
            for salt, key in enumerate(workload.VERSION_TAG_KEYS):
                await connection.execute(
                    f"""INSERT INTO model_version_tags (name, version, key, value)
                    SELECT {name}, {number}, '{key}', {workload.label_sql("i", salt)} FROM {rows}"""
                )
        for table in ("registered_models", "model_versions", "model_version_tags"):
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    finally:
        await connection.close()

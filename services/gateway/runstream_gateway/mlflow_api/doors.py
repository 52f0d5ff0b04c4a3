"""Every route of MLflow's API: the areas put together, each path under /api and /ajax-api."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runstream_gateway.mlflow_api import (
    absent,
    experiments,
    logged_models,
    metric_histories,
    run_writes,
    runs,
    server_info,
    webhooks,
)
from runstream_gateway.mlflow_api.graphql import endpoint as graphql
from runstream_gateway.mlflow_api.registry import aliases, models, versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_gateway.backends import Backends
    from runstream_gateway.routes import Route


def mlflow_routes(backends: Backends) -> list[Route]:
    """Routes of all areas."""
    return with_twins(
        [
            *server_info.routes(backends),
            *experiments.routes(backends),
            *runs.routes(backends),
            *run_writes.routes(backends),
            *metric_histories.routes(backends),
            *logged_models.routes(backends),
            *models.routes(backends),
            *versions.routes(backends),
            *aliases.routes(backends),
            *webhooks.routes(backends),
            *graphql.routes(backends),
            # Last: every other route wins.
            *absent.routes(),
        ]
    )


def with_twins(routes: Iterable[Route]) -> list[Route]:
    """The routes, and for each below /api/ the same below /ajax-api/, where the web UI looks."""
    both: list[Route] = []
    for route in routes:
        both.append(route)
        if route.path.startswith("/api/"):
            both.append(
                replace(route, path="/ajax-api" + route.path[len("/api") :], name=route.name or route.path)
            )
    return both

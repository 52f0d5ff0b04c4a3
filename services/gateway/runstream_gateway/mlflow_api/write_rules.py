"""MLflow's rules for params, tags and metrics (mlflow.utils.validation, release 3.17): asked quickly, refused in its words."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mlflow.entities import Metric, Param, RunTag
from mlflow.utils import validation
from runstream_contract.names import key_problem

from runstream_gateway.mlflow_api.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_gateway.mlflow_api.write_bodies import LogBatchBody, MetricBody

_REMEMBERED_KEYS = 65_536


@lru_cache(maxsize=_REMEMBERED_KEYS)
def is_key(key: str) -> bool:
    """Whether a metric, param or tag may have this key."""
    return key_problem(key) is None


def is_plain_batch(body: LogBatchBody) -> bool:
    """Whether nothing about a batch needs a closer look; quick."""
    metrics, params, tags = body.metrics, body.params, body.tags
    return (
        len(metrics) + len(params) + len(tags) <= validation.MAX_ENTITIES_PER_BATCH
        and max(len(params), len(tags)) <= validation.MAX_PARAMS_TAGS_PER_BATCH
        and all(map(is_key, {metric.key for metric in metrics}))
        and all(is_key(pair.key) for pair in params)
        and all(is_key(pair.key) for pair in tags)
        and len({pair.key for pair in params}) == len(params)
    )


def check_batch(body: LogBatchBody) -> None:
    """Look closely at a batch; each check in MLflow's order.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE in MLflow's words.
    """
    params = [Param(pair.key, pair.value) for pair in body.params]
    tags = [RunTag(pair.key, pair.value) for pair in body.tags]
    validation._validate_run_id(body.run_id)  # noqa: SLF001 - MLflow's words are in its private functions
    validation._validate_batch_log_data(_entities(body.metrics), params, tags)  # noqa: SLF001
    validation._validate_batch_log_limits(body.metrics, params, tags)  # noqa: SLF001
    validation._validate_param_keys_unique(params)  # noqa: SLF001
    _check_storable([metric.key for metric in body.metrics] + [pair.key for pair in (*params, *tags)])


def check_metric(metric: MetricBody) -> None:
    """Look closely at the only metric of a request.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE in MLflow's words.
    """
    validation._validate_metric(metric.key, float(metric.value), metric.timestamp, metric.step)  # noqa: SLF001
    _check_storable([metric.key])


def _entities(metrics: Sequence[MetricBody]) -> list[Metric]:
    return [Metric(metric.key, float(metric.value), metric.timestamp, metric.step) for metric in metrics]


def _check_storable(keys: Sequence[str]) -> None:
    # MLflow lets an empty key and one that ends in a newline pass, and no others that our services refuse.
    for key in keys:
        problem = key_problem(key)
        if problem is not None:
            raise invalid(f"Invalid value {key!r} for parameter 'key' supplied: it {problem}")

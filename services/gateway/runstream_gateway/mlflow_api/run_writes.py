"""The hot writes of runs: runs/create, runs/log-batch and runs/log-metric, with MLflow's rules and none of its delays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.protos import service_pb2 as mlflow_pb
from runstream_contract.names import is_run_id
from runstream_proto.metadata.v1.logged_model_service_pb2 import LogModelMetricsRequest, ModelMetric
from runstream_proto.metadata.v1.run_service_pb2 import LogBatchRequest
from runstream_proto.metadata.v1.types_pb2 import KeyValue

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.checks import (
    array,
    entries_with,
    float_like,
    int_like,
    required,
    string,
)
from runstream_gateway.mlflow_api.errors import bad_request
from runstream_gateway.mlflow_api.identities import existing_run_id
from runstream_gateway.mlflow_api.messages import empty_reply, read_fast, read_message
from runstream_gateway.mlflow_api.metric_ingest import MetricIngest
from runstream_gateway.mlflow_api.run_checks import check_stages, refusal_of
from runstream_gateway.mlflow_api.run_creation import RunCreation
from runstream_gateway.mlflow_api.runs import RUN_NAME_TAG, param_immutable
from runstream_gateway.mlflow_api.write_bodies import (
    LogBatchBody,
    MetricBody,
    PairBody,
    log_batch_decoder,
    log_metric_decoder,
)
from runstream_gateway.mlflow_api.write_rules import check_batch, check_metric, is_key, is_plain_batch
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlflow.exceptions import MlflowException
    from runstream_common.errors import PlatformError
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.checks import Schema

_PREFIX = "/api/2.0/mlflow/runs/"

_LOG_BATCH_SCHEMA: Schema = {
    "run_id": [string, required],
    "metrics": [array, entries_with("metrics", "key", "value", "timestamp")],
    "params": [array, entries_with("params", "key")],
    "tags": [array, entries_with("tags", "key")],
}
_LOG_METRIC_SCHEMA = {
    "run_id": [required, string],
    "key": [required, string],
    "value": [required, float_like],
    "timestamp": [int_like, required],
    "step": [int_like],
    "model_id": [string],
    "dataset_name": [string],
    "dataset_digest": [string],
}


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    creation, writes = RunCreation(backends), RunWrites(backends)
    return [
        Route("POST", _PREFIX + "create", creation.create),
        Route("POST", _PREFIX + "log-batch", writes.log_batch),
        Route("POST", _PREFIX + "log-metric", writes.log_metric),
    ]


class RunWrites:
    """Logs to runs: params and tags at once, metrics over the bus."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._logged_models = backends.logged_models
        self._timeout = backends.timeout_seconds
        self._ingest = MetricIngest(backends)

    async def log_batch(self, request: Request) -> Response:
        """runs/log-batch: everything is checked before anything is written."""
        body = await read_fast(request, log_batch_decoder)
        if body is None or not is_run_id(body.run_id) or not is_plain_batch(body):
            body = await _read_batch(request)
            check_batch(body)
        has_data = bool(body.params or body.tags)
        if has_data:
            # Refuses a run that is missing or deleted itself.
            await self._log_data(body)
        await self._log_metrics(body.run_id, body.metrics, run_checked=has_data)
        return empty_reply()

    async def log_metric(self, request: Request) -> Response:
        """runs/log-metric."""
        body = await read_fast(request, log_metric_decoder)
        if body is None or not body.run_id or not is_key(body.key):
            run_id, metric = await _read_metric(request)
            check_metric(metric)
        else:
            run_id = body.run_id
            metric = MetricBody(
                body.key,
                body.value,
                body.timestamp,
                body.step,
                body.model_id,
                body.dataset_name,
                body.dataset_digest,
            )
        await self._log_metrics(run_id, [metric], run_checked=False)
        return empty_reply()

    async def _log_data(self, body: LogBatchBody) -> None:
        message = LogBatchRequest(
            run_id=existing_run_id(body.run_id),
            params=_key_values(body.params),
            # Renaming to nothing changes nothing (MLflow).
            tags=_key_values(tag for tag in body.tags if tag.value or tag.key != RUN_NAME_TAG),
        )
        await call(self._runs.LogBatch, message, self._timeout, {"PARAM_IMMUTABLE": param_immutable})

    async def _log_metrics(self, run_id: str, metrics: Sequence[MetricBody], *, run_checked: bool) -> None:
        """Write points to a run, and with none only see that it takes writes."""
        filed = [metric for metric in metrics if metric.model_id]
        if not run_checked and (filed or not metrics):
            await self._require_active(run_id)
            run_checked = True
        if filed:
            await self._file_under_models(run_id, filed)
        if metrics:
            await self._ingest.log(run_id, metrics, run_checked=run_checked)

    async def _require_active(self, run_id: str) -> None:
        stages = await check_stages(self._runs, [existing_run_id(run_id)], timeout_seconds=self._timeout)
        refusal = refusal_of(run_id, stages[run_id])
        if refusal is not None:
            raise refusal

    async def _file_under_models(self, run_id: str, metrics: Sequence[MetricBody]) -> None:
        message = LogModelMetricsRequest(metrics=[_model_metric(run_id, metric) for metric in metrics])
        words = {"LOGGED_MODEL_NOT_FOUND": _model_missing}
        await call(self._logged_models.LogModelMetrics, message, self._timeout, words)


async def _read_batch(request: Request) -> LogBatchBody:
    asked = await read_message(request, mlflow_pb.LogBatch(), _LOG_BATCH_SCHEMA)
    return LogBatchBody(
        run_id=asked.run_id,
        metrics=[_metric_body(metric) for metric in asked.metrics],
        params=[PairBody(param.key, param.value) for param in asked.params],
        tags=[PairBody(tag.key, tag.value) for tag in asked.tags],
    )


async def _read_metric(request: Request) -> tuple[str, MetricBody]:
    asked = await read_message(request, mlflow_pb.LogMetric(), _LOG_METRIC_SCHEMA)
    return asked.run_id or asked.run_uuid, _metric_body(asked)


def _metric_body(metric: mlflow_pb.Metric | mlflow_pb.LogMetric) -> MetricBody:
    return MetricBody(
        metric.key,
        metric.value,
        metric.timestamp,
        metric.step,
        metric.model_id,
        metric.dataset_name,
        metric.dataset_digest,
    )


def _model_metric(run_id: str, metric: MetricBody) -> ModelMetric:
    return ModelMetric(
        model_id=metric.model_id,
        run_id=run_id,
        key=metric.key,
        value=float(metric.value),
        step=metric.step,
        timestamp_ms=metric.timestamp,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
    )


def _key_values(pairs: Iterable[PairBody]) -> list[KeyValue]:
    return [KeyValue(key=pair.key, value=pair.value) for pair in pairs]


def _model_missing(refusal: PlatformError) -> MlflowException:
    return bad_request(
        f"A metric cannot be filed under a logged model that does not exist: {refusal.message}"
    )

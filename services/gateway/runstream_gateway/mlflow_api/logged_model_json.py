"""Logged models as MLflow's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_gateway.mlflow_api.run_json import double_json, key_values_json

if TYPE_CHECKING:
    from runstream_proto.metadata.v1 import logged_model_service_pb2 as pb

STATUS_NAMES = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)
"""MLflow's names by number of `LoggedModelStatus`."""


def logged_model_json(model: pb.LoggedModel) -> dict[str, Any]:
    """MLflow's LoggedModel."""
    info: dict[str, Any] = {
        "model_id": model.model_id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "creation_timestamp_ms": model.creation_time_ms,
        "last_updated_timestamp_ms": model.last_update_time_ms,
        "artifact_uri": model.artifact_uri,
        "status": STATUS_NAMES[model.status],
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
    }
    if model.status_message:
        info["status_message"] = model.status_message
    if model.tags:
        info["tags"] = key_values_json(model.tags)
    data: dict[str, Any] = {}
    if model.params:
        data["params"] = key_values_json(model.params)
    if model.metrics:
        data["metrics"] = [_metric_json(metric) for metric in model.metrics]
    return {"info": info, "data": data}


def _metric_json(metric: pb.ModelMetric) -> dict[str, Any]:
    described: dict[str, Any] = {
        "key": metric.key,
        "value": double_json(metric.value),
        "timestamp": metric.timestamp_ms,
        "step": metric.step,
    }
    if metric.dataset_name:
        described["dataset_name"] = metric.dataset_name
    if metric.dataset_digest:
        described["dataset_digest"] = metric.dataset_digest
    described["model_id"] = metric.model_id
    described["run_id"] = metric.run_id
    return described

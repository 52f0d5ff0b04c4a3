"""Runs as MLflow's JSON, built without protobuf reflection: what is set is there, what is empty is left out.

The shapes are those of MLflow 3.17's Run, RunInfo, RunData, RunInputs and RunOutputs messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_proto.metadata.v1 import types_pb2 as types

JsonObject: TypeAlias = dict[str, Any]

MAX_DOUBLE = 1.7976931348623157e308
"""What MLflow's SQL store keeps for an infinity; ours keeps the infinity, and this is what clients are answered."""

STATUS_NAMES = ("RUNNING", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""MLflow's names by number of `RunStatus`; every stored run has a status, so the first is never asked for."""

_STAGE_NAMES = ("active", "active", "deleted")


def run_json(run: types.Run, *, model_inputs: bool = True, outputs: bool = True) -> JsonObject:
    """MLflow's Run.

    Args:
        run: with all its data.
        model_inputs: whether to tell the logged models that it used; runs/search leaves them out.
        outputs: whether to tell what it produced; runs/create leaves them out.
    """
    whole: JsonObject = {"info": run_info_json(run), "data": run_data_json(run)}
    whole["inputs"] = run_inputs_json(run, model_inputs=model_inputs)
    if outputs:
        whole["outputs"] = run_outputs_json(run)
    return whole


def run_info_json(run: types.Run) -> JsonObject:
    """MLflow's RunInfo."""
    run_id = run.run_id
    info: JsonObject = {
        "run_uuid": run_id,
        "experiment_id": run.experiment_id,
        "run_name": run.run_name,
        "user_id": run.user_id,
        "status": STATUS_NAMES[run.status],
        "start_time": run.start_time_ms,
    }
    # 0 is not told, as in MLflow.
    if run.end_time_ms:
        info["end_time"] = run.end_time_ms
    if run.artifact_uri:
        info["artifact_uri"] = run.artifact_uri
    info["lifecycle_stage"] = _STAGE_NAMES[run.lifecycle_stage]
    info["run_id"] = run_id
    return info


def run_data_json(run: types.Run) -> JsonObject:
    """MLflow's RunData: latest metrics, params and tags."""
    data: JsonObject = {}
    if run.metrics:
        data["metrics"] = [
            {
                "key": metric.key,
                "value": double_json(metric.value),
                "timestamp": metric.timestamp_ms,
                "step": metric.step,
            }
            for metric in run.metrics
        ]
    if run.params:
        data["params"] = key_values_json(run.params)
    if run.tags:
        data["tags"] = key_values_json(run.tags)
    return data


def run_inputs_json(run: types.Run, *, model_inputs: bool = True) -> JsonObject:
    """MLflow's RunInputs: datasets and logged models that the run used."""
    inputs: JsonObject = {}
    if run.inputs:
        inputs["dataset_inputs"] = [_dataset_input_json(item) for item in run.inputs]
    if model_inputs and run.model_input_ids:
        inputs["model_inputs"] = [{"model_id": model_id} for model_id in run.model_input_ids]
    return inputs


def run_outputs_json(run: types.Run) -> JsonObject:
    """MLflow's RunOutputs: logged models that the run produced."""
    if not run.model_outputs:
        return {}
    return {"model_outputs": [{"model_id": item.model_id, "step": item.step} for item in run.model_outputs]}


def key_values_json(pairs: Iterable[types.KeyValue]) -> list[JsonObject]:
    """Params or tags."""
    return [{"key": pair.key, "value": pair.value} for pair in pairs]


def double_json(value: float) -> float | str:
    """A metric's value as MLflow's SQL server answers it: text for NaN, no infinity, no negative zero."""
    if value != value:  # noqa: PLR0124 - the cheapest test for NaN, made for every metric of every run
        return "NaN"
    if -MAX_DOUBLE <= value <= MAX_DOUBLE:
        return value + 0.0
    return MAX_DOUBLE if value > 0 else -MAX_DOUBLE


def _dataset_input_json(item: types.DatasetInput) -> JsonObject:
    dataset = item.dataset
    described: JsonObject = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
    }
    if dataset.schema:
        described["schema"] = dataset.schema
    if dataset.profile:
        described["profile"] = dataset.profile
    if item.tags:
        return {"tags": key_values_json(item.tags), "dataset": described}
    return {"dataset": described}

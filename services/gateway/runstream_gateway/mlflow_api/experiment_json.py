"""Experiments as MLflow's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_gateway.mlflow_api.run_json import key_values_json

if TYPE_CHECKING:
    from runstream_proto.metadata.v1 import types_pb2 as types

WORKSPACE = "default"
"""The only workspace there is."""

_STAGES = ("active", "active", "deleted")


def experiment_json(experiment: types.Experiment) -> dict[str, Any]:
    """MLflow's Experiment."""
    described: dict[str, Any] = {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": _STAGES[experiment.lifecycle_stage],
    }
    if experiment.last_update_time_ms:
        described["last_update_time"] = experiment.last_update_time_ms
    if experiment.creation_time_ms:
        described["creation_time"] = experiment.creation_time_ms
    if experiment.tags:
        described["tags"] = key_values_json(experiment.tags)
    described["workspace"] = WORKSPACE
    return described

"""The run tag in which clients of MLflow 2 keep what models they logged (endpoint runs/log-model)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS

from runstream_gateway.mlflow_api.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIRED = {"artifact_path", "flavors", "utc_time_created", "run_id"}


def with_model(tags: Mapping[str, str], model_json: str) -> tuple[str, str]:
    """The tag after one more model.

    Args:
        tags: of the run before.
        model_json: content of the model's MLmodel file as JSON.

    Returns:
        Key and value of the tag.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE, it is not a model's JSON.
    """
    described = _tags_of(model_json)
    before = tags.get(MLFLOW_LOGGED_MODELS)
    try:
        history = json.loads(before) if before else []
    except ValueError:
        # Cut to the longest value of a tag, as MLflow cuts it; it answers 500 from then on.
        history = []
    return MLFLOW_LOGGED_MODELS, json.dumps(
        [*history, described] if isinstance(history, list) else [described]
    )


def _tags_of(model_json: str) -> dict[str, Any]:
    """What MLflow keeps of a model (mlflow.models.Model.get_tags_dict, release 3.17, which needs the whole package)."""
    try:
        model = json.loads(model_json)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Malformed model info. \n {model_json} \n is not a valid JSON.") from error
    if not isinstance(model, dict):
        raise invalid(f"Malformed model info. \n {model_json} \n is not a JSON object.")
    missing_fields = _REQUIRED - set(model)
    if missing_fields:
        raise invalid(f"Model json is missing mandatory fields: {missing_fields}")
    return {
        "run_id": model["run_id"],
        "artifact_path": model["artifact_path"],
        "utc_time_created": str(model["utc_time_created"]),
        "model_uuid": model.get("model_uuid"),
        "flavors": _without_config(model["flavors"]),
    }


def _without_config(flavors: Any) -> dict[str, Any]:
    if flavors is not None and not isinstance(flavors, dict):
        raise invalid(f"Malformed model info. flavors is {flavors!r}, not a JSON object.")
    return {
        flavor: {key: value for key, value in content.items() if key != "config"}
        if isinstance(content, dict)
        else content
        for flavor, content in (flavors or {}).items()
    }

"""A run as MLflow's JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from mlflow.protos import service_pb2 as mlflow_pb
from mlflow.utils.proto_json_utils import message_to_json, parse_dict
from runstream_gateway.mlflow_api.run_json import double_json, run_json
from runstream_proto.metadata.v1 import types_pb2 as types


def encoded(value: Mapping[str, Any]) -> Any:
    return json.loads(msgspec.json.encode(value))


def a_run() -> types.Run:
    return types.Run(
        run_id="a" * 32,
        experiment_id="7",
        run_name="clever-fox-1",
        status=types.RunStatus.RUN_STATUS_FINISHED,
        start_time_ms=10,
        end_time_ms=20,
        artifact_uri="mlflow-artifacts:/7/x/artifacts",
        lifecycle_stage=types.LifecycleStage.LIFECYCLE_STAGE_DELETED,
        metrics=[types.LatestMetric(key="loss", value=0.5, step=-3, timestamp_ms=2**53 + 1)],
        params=[types.KeyValue(key="p", value="")],
        tags=[types.KeyValue(key="t", value="ü")],
        inputs=[
            types.DatasetInput(
                dataset=types.Dataset(name="d", digest="1", source_type="local", source="s", profile="{}"),
                tags=[types.KeyValue(key="mlflow.data.context", value="train")],
            ),
            types.DatasetInput(dataset=types.Dataset(name="e", digest="2", schema="{}")),
        ],
        model_input_ids=["m-1"],
        model_outputs=[types.ModelOutput(model_id="m-2", step=4), types.ModelOutput(model_id="m-3")],
    )


def test_the_json_is_what_mlflow_writes_for_the_same_message() -> None:
    ours = encoded(run_json(a_run()))
    message = mlflow_pb.Run()
    parse_dict(ours, message)
    assert json.loads(message_to_json(message)) == ours
    assert list(ours["info"]) == list(json.loads(message_to_json(message))["info"])
    assert ours["info"]["status"] == "FINISHED"
    assert ours["info"]["lifecycle_stage"] == "deleted"
    assert ours["info"]["run_uuid"] == ours["info"]["run_id"] == "a" * 32
    assert ours["inputs"]["model_inputs"] == [{"model_id": "m-1"}]
    assert ours["outputs"]["model_outputs"][1] == {"model_id": "m-3", "step": 0}


def test_what_is_empty_is_left_out_and_what_is_set_is_there() -> None:
    ours = encoded(run_json(types.Run(run_id="b" * 32, experiment_id="0", status=1, lifecycle_stage=1)))
    assert ours == {
        "info": {
            "run_uuid": "b" * 32,
            "experiment_id": "0",
            "run_name": "",
            "user_id": "",
            "status": "RUNNING",
            "start_time": 0,
            "lifecycle_stage": "active",
            "run_id": "b" * 32,
        },
        "data": {},
        "inputs": {},
        "outputs": {},
    }


def test_a_search_leaves_out_model_inputs_and_a_creation_the_outputs() -> None:
    assert "model_inputs" not in run_json(a_run(), model_inputs=False)["inputs"]
    assert "outputs" not in run_json(a_run(), outputs=False)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (math.nan, "NaN"),
        (math.inf, 1.7976931348623157e308),
        (-math.inf, -1.7976931348623157e308),
        (1.7976931348623157e308, 1.7976931348623157e308),
        (5e-324, 5e-324),
        (3.0, 3.0),
    ],
)
def test_values_are_those_of_mlflows_sql_server(value: float, answer: object) -> None:
    assert double_json(value) == answer


def test_there_is_no_negative_zero() -> None:
    assert math.copysign(1, float(double_json(-0.0))) == 1

"""Bodies of the hot writes, decoded straight into what they mean; what is unusual about one takes the slow path.

A field that is not named here, a number given as text, a null: all of that is legal in MLflow's protocol and rare, so it
is left to the messages of MLflow and to its own checks.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

INT64_MAX = 2**63 - 1

Int64 = Annotated[int, msgspec.Meta(ge=-INT64_MAX - 1, le=INT64_MAX)]
TimestampMs = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
Double = float | Literal["NaN", "Infinity", "-Infinity"]
"""As proto-JSON writes it."""


class MetricBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """MLflow's Metric."""

    key: str
    value: Double
    timestamp: TimestampMs
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""


class PairBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """MLflow's Param or RunTag."""

    key: str
    value: str = ""


class LogBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """runs/log-batch."""

    run_id: str
    metrics: list[MetricBody] = []
    params: list[PairBody] = []
    tags: list[PairBody] = []


class LogMetricBody(msgspec.Struct, forbid_unknown_fields=True):
    """runs/log-metric; clients send both spellings of the run's id."""

    key: str
    value: Double
    timestamp: TimestampMs
    run_id: str = ""
    run_uuid: str = ""
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class CreateRunBody(msgspec.Struct, forbid_unknown_fields=True):
    """runs/create."""

    experiment_id: str = ""
    user_id: str = ""
    start_time: Int64 = 0
    run_name: str = ""
    tags: list[PairBody] = []


log_batch_decoder = msgspec.json.Decoder(LogBatchBody)
log_metric_decoder = msgspec.json.Decoder(LogMetricBody)
create_run_decoder = msgspec.json.Decoder(CreateRunBody)

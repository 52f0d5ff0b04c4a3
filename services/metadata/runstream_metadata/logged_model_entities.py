"""What the service keeps of logged models, as plain frozen values.

Numbers of the enumeration are those of ``runstream.metadata.v1``. Times are milliseconds since the Unix epoch (UTC);
model ids are "m-" and 32 lowercase hexadecimal characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_metadata.entities import LifecycleStage


class LoggedModelStatus(IntEnum):
    """State of a logged model (MLflow, with its numbers)."""

    UNSPECIFIED = 0
    PENDING = 1
    READY = 2
    UPLOAD_FAILED = 3


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """A point that a run filed under a logged model; the dataset's name and digest are empty when not said."""

    model_id: str
    run_id: str
    key: str
    value: float
    step: int
    timestamp_ms: int
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A logged model; params and tags are in the order of their keys."""

    model_id: str
    experiment_id: int
    name: str
    model_type: str
    source_run_id: str
    status: LoggedModelStatus
    status_message: str
    artifact_uri: str
    lifecycle_stage: LifecycleStage
    creation_time_ms: int
    last_update_time_ms: int
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelMetric] = ()


@dataclass(frozen=True, slots=True)
class NewLoggedModel:
    """What a logged model is created from; already checked and complete."""

    model_id: str
    experiment_id: int
    name: str
    model_type: str
    source_run_id: str
    creation_time_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]

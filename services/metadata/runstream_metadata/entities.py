"""What the service keeps, as plain frozen values; every other module may import this one.

Numbers of the enumerations are those of ``runstream.metadata.v1``. Times are milliseconds since the Unix
epoch (UTC); run ids are 32 lowercase hexadecimal characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN_NAME_TAG = "mlflow.runName"
"""The tag that always equals the run's name (MLflow)."""

PARENT_RUN_TAG = "mlflow.parentRunId"
"""The tag that makes a run a child of another (MLflow)."""

LOST_REASON = "lost"
"""Status reason of a run whose lease ran out."""


class LifecycleStage(IntEnum):
    """Whether an experiment or run is in use."""

    ACTIVE = 1
    DELETED = 2


class ViewType(IntEnum):
    """Which lifecycle stages a search returns."""

    ACTIVE_ONLY = 1
    DELETED_ONLY = 2
    ALL = 3


class RunStatus(IntEnum):
    """Status of a run (MLflow)."""

    RUNNING = 1
    SCHEDULED = 2
    FINISHED = 3
    FAILED = 4
    KILLED = 5

    @property
    def ended(self) -> bool:
        """Whether the run does nothing more."""
        return self in {RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED}


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment."""

    experiment_id: int
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage
    creation_time_ms: int
    last_update_time_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset; its identity within an experiment is (name, digest)."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset as the input of a run, with the tags of the link."""

    dataset: Dataset
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A logged model that a run produced, and at which step; the model need not exist (MLflow)."""

    model_id: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset that runs of an experiment used; the context is empty when no link says one."""

    experiment_id: int
    name: str
    digest: str
    context: str


@dataclass(frozen=True, slots=True)
class LatestMetric:
    """The latest point of one metric of a run."""

    key: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run. The parts after ``parent_run_id`` are empty when they were not asked for; keys are in order."""

    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: RunStatus
    status_reason: str
    start_time_ms: int
    end_time_ms: int | None
    artifact_uri: str
    lifecycle_stage: LifecycleStage
    lease_expire_time_ms: int | None = None
    parent_run_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[LatestMetric] = ()
    inputs: Sequence[DatasetInput] = ()
    model_input_ids: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is created from; already checked and complete."""

    run_id: str
    experiment_id: int
    name: str
    user_id: str
    start_time_ms: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    lease_ms: int | None
    parent_run_id: str


@dataclass(frozen=True, slots=True)
class RunState:
    """What a change of a run may set, together with the version it was read at."""

    version: int
    run: Run


@dataclass(frozen=True, slots=True)
class RunCheck:
    """What is known of a run by those who only refer to it; no stage means that there is no such run."""

    run_id: str
    lifecycle_stage: LifecycleStage | None
    experiment_id: int | None

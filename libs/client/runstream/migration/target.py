"""What a migration writes to, in MLflow's entities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from runstream.migration.files import Inventory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from runstream_contract.columns import Series

    from runstream.migration.files import FileFact


@dataclass(frozen=True, slots=True)
class Placed:
    """Where something went.

    Attributes:
        id: id over there.
        created: whether it was not there before.
        artifact_uri: root of its files over there; empty when it has none.
    """

    id: str
    created: bool
    artifact_uri: str = ""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run consists of, to be compared.

    Attributes:
        status: as MLflow writes it.
        lifecycle_stage: "active" or "deleted".
        params: number of them.
        tags: number of them, without those that only one side has.
        datasets: inputs.
        model_inputs: logged models that it used.
        model_outputs: logged models that it made.
        points: number of distinct points by metric key.
        files: its files.
    """

    status: str
    lifecycle_stage: str
    params: int
    tags: int
    datasets: int
    model_inputs: int
    model_outputs: int
    points: Mapping[str, int] = field(default_factory=dict)
    files: Inventory = field(default_factory=Inventory)


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """What a registered model or prompt consists of, to be compared.

    Attributes:
        tags: number of them.
        aliases: version by alias.
        versions: stage by version number.
    """

    tags: int
    aliases: Mapping[str, str]
    versions: Mapping[str, str]


class Target(Protocol):
    """Writes one deployment; thread-safe. Repeating a call is harmless.

    Attributes:
        renumbers: whether runs get ids over there before anything else is written, because theirs cannot be kept.
    """

    renumbers: bool

    @property
    def name(self) -> str:
        """The address, for people and for the journal."""
        ...

    def put_experiment(self, experiment: Experiment) -> Placed:
        """Create an experiment, active for now."""
        ...

    def finish_experiment(self, experiment: Experiment, placed: Placed) -> None:
        """Give it its last times and its lifecycle stage."""
        ...

    def reserve_run(self, run: Run, experiment_id: str) -> Placed:
        """Create an empty run; only asked for where ids cannot be kept."""
        ...

    def put_run(self, run: Run, experiment_id: str, run_id: str, model_ids: Mapping[str, str]) -> Placed:
        """Create a run with params, tags, inputs and outputs, active for now.

        Args:
            run: as it was.
            experiment_id: experiment over there.
            run_id: its id over there.
            model_ids: ids of logged models over there by the ids they had.
        """
        ...

    def put_points(self, run_id: str, series: Sequence[Series]) -> None:
        """Write points."""
        ...

    def put_run_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """Store the files of a folder; returns what is stored of them."""
        ...

    def finish_run(self, run: Run, run_id: str) -> None:
        """Give a run its status and its end."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Mark a run deleted."""
        ...

    def put_logged_model(
        self, model: LoggedModel, experiment_id: str, model_id: str, run_ids: Mapping[str, str]
    ) -> Placed:
        """Create a logged model with params, tags and metrics.

        Args:
            model: as it was.
            experiment_id: experiment over there.
            model_id: its id over there, when an earlier call got so far; else empty.
            run_ids: ids of runs over there by the ids they had.
        """
        ...

    def put_model_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """Store the files of a folder under a logged model."""
        ...

    def finish_logged_model(self, model: LoggedModel, placed: Placed) -> None:
        """Give a logged model its status, when its files are there."""
        ...

    def put_model(self, model: RegisteredModel) -> None:
        """Create a registered model or prompt with its tags."""
        ...

    def put_version(self, version: ModelVersion, source: str, run_id: str, model_id: str) -> None:
        """Create a version under its number.

        Args:
            version: as it was.
            source: where its files are over there.
            run_id: its run over there; may be empty.
            model_id: its logged model over there; may be empty.
        """
        ...

    def finish_model(self, model: RegisteredModel, versions: Sequence[ModelVersion]) -> None:
        """Set stages, aliases and times."""
        ...

    def settle(self) -> None:
        """Wait until everything that was written can be read."""
        ...

    def run_counts(self, run_id: str) -> RunCounts | None:
        """What a run consists of; None when there is none."""
        ...

    def logged_model_files(self, model_id: str) -> Inventory | None:
        """Files of a logged model; None when there is none."""
        ...

    def model_counts(self, name: str) -> ModelCounts | None:
        """What a registered model or prompt consists of; None when there is none."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...

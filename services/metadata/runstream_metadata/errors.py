"""Refusals of this service, with the reasons that clients key on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExperimentNotFound(NotFound):
    """There is no such experiment, or it is not in the stage that the call is for."""

    default_reason = "EXPERIMENT_NOT_FOUND"


class ExperimentDeleted(FailedPrecondition):
    """The experiment is marked deleted; restore it first."""

    default_reason = "EXPERIMENT_DELETED"

    def __init__(self, experiment_id: int) -> None:
        super().__init__(
            f"experiment {experiment_id} is deleted; restore it first",
            metadata={"experiment_id": str(experiment_id)},
        )


class ExperimentNameTaken(AlreadyExists):
    """An experiment, active or deleted, has the name."""

    default_reason = "EXPERIMENT_NAME_TAKEN"

    def __init__(self, name: str, *, deleted: bool = False) -> None:
        hint = " (deleted; restore or rename it)" if deleted else ""
        super().__init__(f"an experiment named {name!r} exists{hint}")


class ExperimentTagNotFound(NotFound):
    """The experiment has no such tag."""

    default_reason = "TAG_NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run."""

    default_reason = "RUN_NOT_FOUND"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} does not exist", metadata={"run_id": run_id})


class RunDeleted(FailedPrecondition):
    """The run is marked deleted; reads still work, writes do not."""

    default_reason = "RUN_DELETED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is deleted; restore it first", metadata={"run_id": run_id})


class RunIdTaken(AlreadyExists):
    """The chosen run id belongs to a run of another experiment."""

    default_reason = "RUN_ID_TAKEN"

    def __init__(self, run_id: str, experiment_id: int) -> None:
        super().__init__(
            f"run {run_id} exists in experiment {experiment_id}",
            metadata={"run_id": run_id, "experiment_id": str(experiment_id)},
        )


class TagNotFound(NotFound):
    """The run has no such tag."""

    default_reason = "TAG_NOT_FOUND"

    def __init__(self, run_id: str, key: str) -> None:
        super().__init__(f"run {run_id} has no tag {key!r}", metadata={"run_id": run_id, "key": key})


class ParamImmutable(InvalidArgument):
    """A param has another value already; params never change (MLflow)."""

    default_reason = "PARAM_IMMUTABLE"

    def __init__(self, run_id: str, conflicts: dict[str, tuple[str, str]]) -> None:
        """Name the conflicts: key to (stored value, new value)."""
        violations = [
            FieldViolation(
                f"params[{key}]",
                f"is {_short(stored)} and cannot change to {_short(new)}; params are immutable",
            )
            for key, (stored, new) in sorted(conflicts.items())
        ]
        metadata = {"run_id": run_id}
        if len(conflicts) == 1:
            [(stored, _)] = conflicts.values()
            metadata["stored_value"] = _short(stored)
        super().__init__(violations, metadata=metadata)


class LoggedModelNotFound(NotFound):
    """There is no such logged model, or it is deleted and the call is for those in use."""

    default_reason = "LOGGED_MODEL_NOT_FOUND"

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"logged model {_short(model_id)} does not exist", metadata={"model_id": model_id[:100]}
        )


class LoggedModelIdTaken(AlreadyExists):
    """The chosen model id belongs to a logged model of another experiment."""

    default_reason = "LOGGED_MODEL_ID_TAKEN"

    def __init__(self, model_id: str, experiment_id: int) -> None:
        super().__init__(
            f"logged model {model_id} exists in experiment {experiment_id}",
            metadata={"model_id": model_id, "experiment_id": str(experiment_id)},
        )


class LoggedModelTagNotFound(NotFound):
    """The logged model has no such tag."""

    default_reason = "TAG_NOT_FOUND"

    def __init__(self, model_id: str, key: str) -> None:
        super().__init__(
            f"logged model {model_id} has no tag {_short(key)}",
            metadata={"model_id": model_id, "key": key[:100]},
        )


class ModelParamExists(InvalidArgument):
    """A logged model has the params already; even equal values are refused (MLflow)."""

    default_reason = "PARAM_IMMUTABLE"

    def __init__(self, model_id: str, keys: Iterable[str]) -> None:
        violations = [
            FieldViolation(f"params[{_short(key)}]", "is there already; params are immutable") for key in keys
        ]
        super().__init__(violations, metadata={"model_id": model_id})


class OutputExists(AlreadyExists):
    """The run has the model as an output already (MLflow refuses the repeat)."""

    default_reason = "OUTPUT_EXISTS"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id} has one of the models as an output already, or it comes twice",
            metadata={"run_id": run_id},
        )


def _short(value: str) -> str:
    return repr(value if len(value) <= 100 else value[:100] + "…")

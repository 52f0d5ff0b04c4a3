"""Which columns a list of runs has, and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument

from runstream.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream.query.results import Run

# More would not fit beside each other in a usual terminal.
MAX_METRICS, MAX_PARAMS = 4, 3
# The SDK samples the machine into metrics of this prefix; they are seldom what runs are told apart by.
SYSTEM_PREFIX = "system/"

_FACTS = (
    "run_id",
    "run_name",
    "experiment_id",
    "status",
    "started",
    "duration",
    "user_id",
    "lifecycle_stage",
)
_GROUPS = ("metrics", "params", "tags")


def default_columns(runs: Sequence[Run]) -> list[str]:
    """Facts, the metrics that most runs have, and the params in which the runs differ."""
    metrics = [
        key for key in _by_frequency([run.metrics for run in runs]) if not key.startswith(SYSTEM_PREFIX)
    ]
    params = [
        key
        for key in _by_frequency([run.params for run in runs])
        if len({run.params.get(key) for run in runs}) > 1
    ]
    experiment = ["experiment_id"] if len({run.experiment_id for run in runs}) > 1 else []
    columns = ["run_id", "run_name", *experiment, "status", "started", "duration"]
    columns += [f"metrics.{key}" for key in metrics[:MAX_METRICS]]
    return columns + [f"params.{key}" for key in params[:MAX_PARAMS]]


def _by_frequency(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    counts: dict[str, int] = {}
    for group in groups:
        for key in group:
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))


def run_cell(run: Run, column: str) -> Any:
    """What stands in a column for a run.

    Raises:
        InvalidArgument: there is no such column.
    """
    group, dot, key = column.partition(".")
    if dot and group in _GROUPS:
        return getattr(run, group).get(key)
    if column not in _FACTS:
        known = ", ".join([*_FACTS, *(f"{group}.KEY" for group in _GROUPS)])
        raise InvalidArgument.of("column", f"{column!r} is not one of {known}")
    if column == "status":
        return output.status_text(run.status)
    if column == "started":
        return output.time_cell(run.start_time)
    return output.duration_cell(run.duration_seconds) if column == "duration" else getattr(run, column)

"""What the callbacks share: whose run it is, and params and metrics that must not break training."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

from runstream_common.errors import PlatformError
from runstream_contract.names import key_problem

from runstream.tracking import fluent

if TYPE_CHECKING:
    from runstream.tracking.exits import Status
    from runstream.tracking.run import Run

log = logging.getLogger("runstream")


class TrainingRun:
    """The run a callback logs to: the one it was given, else the active one, else one of its own.

    Args:
        run: run to log to; it is not ended.
        experiment: experiment of a run of its own.
        run_name: name of a run of its own.
    """

    def __init__(self, run: Run | None, experiment: str, run_name: str) -> None:
        self._run = run
        self._experiment = experiment
        self._run_name = run_name
        self._own: Run | None = None

    @property
    def run(self) -> Run:
        """The run; started when there is none."""
        run = self._run or self._own or fluent.active_run()
        if run is None:
            run = self._own = fluent.start_run(self._experiment, self._run_name)
        return run

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log what converts to a number; other entries, such as texts, are left out."""
        numbers = {key: value for key, value in metrics.items() if _is_number(key, value)}
        self.run.log_metrics(numbers, step)

    def log_params(self, params: object) -> None:
        """Log hyper-parameters, nested ones with dots in the key. A refusal is a warning: training goes on."""
        flat = {key: value for key, value in flatten(params).items() if key_problem(key) is None}
        try:
            self.run.log_params(flat)
        except PlatformError as error:
            log.warning("run %s: hyper-parameters are not recorded: %s", self.run.run_id, error)

    def end(self, status: Status = "FINISHED") -> None:
        """End a run of its own."""
        if self._own is not None:
            self._own.end(status)
            self._own = None


def flatten(params: object, prefix: str = "") -> dict[str, object]:
    """Nested mappings, namespaces and data classes as one mapping with dotted keys."""
    if isinstance(params, Namespace):
        params = vars(params)
    elif is_dataclass(params) and not isinstance(params, type):
        params = asdict(params)
    if not isinstance(params, Mapping):
        return {prefix: params}
    flat: dict[str, object] = {}
    for key, value in params.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _is_number(key: str, value: Any) -> bool:
    if key_problem(key) is not None or not isinstance(value, SupportsFloat):
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):  # arrays and tensors of several elements
        return False
    return True

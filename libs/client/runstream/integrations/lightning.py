"""Lightning: `Trainer(logger=RunstreamLogger())`. Everything that `self.log` records arrives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.integrations.training_run import TrainingRun

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:  # the same package under its older name
    from pytorch_lightning.loggers.logger import (  # type: ignore[import-not-found]
        Logger,
        rank_zero_experiment,
    )
    from pytorch_lightning.utilities import rank_zero_only  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.tracking.run import Run


class RunstreamLogger(Logger):  # type: ignore[misc]  # lightning is untyped here
    """Logs metrics and hyper-parameters; only in the main process of a distributed training.

    Args:
        run: run to log to; None takes the active one, or else starts one and ends it with the training.
        experiment: experiment of a run it starts.
        run_name: name of a run it starts.
    """

    def __init__(self, run: Run | None = None, *, experiment: str = "", run_name: str = "") -> None:
        super().__init__()
        self._training = TrainingRun(run, experiment, run_name)
        self._experiment = experiment

    @property
    def name(self) -> str:
        """The experiment."""
        return self._experiment or "runstream"

    @property
    def version(self) -> str:
        """The run id; Lightning names checkpoint folders with it."""
        return self._training.run.run_id if rank_zero_only.rank == 0 else ""

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator]  # lightning is untyped here
    def experiment(self) -> Run:
        """The run."""
        return self._training.run

    @rank_zero_only  # type: ignore[untyped-decorator]  # lightning is untyped here
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics."""
        self._training.log_metrics(metrics, 0 if step is None else step)

    @rank_zero_only  # type: ignore[untyped-decorator]  # lightning is untyped here
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log hyper-parameters."""
        del args, kwargs
        self._training.log_params(params)

    @rank_zero_only  # type: ignore[untyped-decorator]  # lightning is untyped here
    def finalize(self, status: str) -> None:
        """End the run if it is the logger's own."""
        self._training.end("FINISHED" if status == "success" else "FAILED")

"""Hugging Face Transformers: `Trainer(..., callbacks=[RunstreamCallback()])`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runstream.integrations.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.tracking.run import Run


class RunstreamCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Logs what the Trainer logs, with the global step; only in the main process of a distributed training.

    Args:
        run: run to log to; None takes the active one, or else starts one and ends it with the training.
        experiment: experiment of a run it starts.
        run_name: name of a run it starts; empty takes the Trainer's run_name.
    """

    def __init__(self, run: Run | None = None, *, experiment: str = "", run_name: str = "") -> None:
        self._run = run
        self._experiment = experiment
        self._run_name = run_name
        self._training: TrainingRun | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the training arguments."""
        del control, kwargs
        if state.is_world_process_zero:
            self._started(args).log_params(args.to_sanitized_dict())

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Log metrics."""
        del control, kwargs
        if state.is_world_process_zero:
            self._started(args).log_metrics(logs or {}, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run if it is the callback's own."""
        del args, state, control, kwargs
        if self._training is not None:
            self._training.end()

    def _started(self, args: Any) -> TrainingRun:
        if self._training is None:
            name = self._run_name or getattr(args, "run_name", None) or ""
            self._training = TrainingRun(self._run, self._experiment, name)
        return self._training

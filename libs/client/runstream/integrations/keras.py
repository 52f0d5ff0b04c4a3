"""Keras: `model.fit(..., callbacks=[RunstreamCallback()])`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from runstream.integrations.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.tracking.run import Run


class RunstreamCallback(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Logs the metrics of every epoch, with the epoch as step, and on request those of batches.

    Args:
        run: run to log to; None takes the active one, or else starts one and ends it with the training.
        experiment: experiment of a run it starts.
        run_name: name of a run it starts.
        every_batches: also log each so-manieth training batch, as "batch/<metric>"; 0 logs none. Reading a batch's
            metrics may wait for the device.
    """

    def __init__(
        self, run: Run | None = None, *, experiment: str = "", run_name: str = "", every_batches: int = 0
    ) -> None:
        super().__init__()
        self._training = TrainingRun(run, experiment, run_name)
        self._every_batches = every_batches
        self._batches = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the training's parameters and the optimizer's."""
        del logs
        optimizer = getattr(self.model, "optimizer", None)
        config = optimizer.get_config() if optimizer is not None else {}
        self._training.log_params({**(self.params or {}), "optimizer": config})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log a batch's metrics, numbered over all epochs."""
        del batch
        if self._every_batches and self._batches % self._every_batches == 0:
            metrics = {f"batch/{key}": value for key, value in (logs or {}).items()}
            self._training.log_metrics(metrics, self._batches)
        self._batches += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log an epoch's metrics."""
        self._training.log_metrics(logs or {}, epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the run if it is the callback's own."""
        del logs
        self._training.end()

"""Callbacks against light stand-ins of the frameworks, which follow their callback protocols.

The stand-ins have the signatures of keras 3.15, transformers 5.23 and lightning 2.6.
"""

import importlib
import sys
from argparse import Namespace
from functools import wraps
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import runstream

from tests.support.fake_server import FakeServer


class KerasCallback:
    """keras.callbacks.Callback."""

    def __init__(self):
        self.params = None
        self.model = None

    def set_params(self, params):
        self.params = params


@pytest.fixture
def keras_callback(monkeypatch):
    keras = ModuleType("keras")
    keras.callbacks = SimpleNamespace(Callback=KerasCallback)
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.delitem(sys.modules, "runstream.integrations.keras", raising=False)
    return importlib.import_module("runstream.integrations.keras").RunstreamCallback


def fit(callback, epochs=2, batches=3):
    """What keras' fit calls."""
    callback.set_params({"epochs": epochs, "steps": batches})
    callback.model = SimpleNamespace(
        optimizer=SimpleNamespace(get_config=lambda: {"name": "adam", "learning_rate": 0.01})
    )
    callback.on_train_begin(None)
    for epoch in range(epochs):
        for batch in range(batches):
            callback.on_train_batch_end(batch, {"loss": np.float32(batch)})
        callback.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1), "matrix": np.zeros(3)})
    callback.on_train_end(None)


def test_keras_epochs_and_batches_are_logged_to_a_run_of_its_own(runstream_here: FakeServer, keras_callback):
    fit(keras_callback(experiment="keras", every_batches=2))
    run = runstream_here.only_run()
    assert run.values("loss") == [1.0, 0.5]
    assert [(p[1], p[3]) for p in sorted(run.points) if p[0] == "batch/loss"] == [
        (0, 0.0),
        (2, 2.0),
        (4, 1.0),
    ]
    assert {p[0] for p in run.points} == {"loss", "batch/loss"}
    assert run.params == {
        "epochs": "2",
        "steps": "3",
        "optimizer.name": "adam",
        "optimizer.learning_rate": "0.01",
    }
    assert run.status_name == "FINISHED"


def test_a_run_that_is_active_is_used_and_left_open(runstream_here: FakeServer, keras_callback):
    with runstream.start_run(run_name="mine"):
        fit(keras_callback())
        fit(keras_callback(), epochs=3)  # the param "epochs" has a value already: a warning, no more
        assert runstream_here.only_run().status_name == "RUNNING"
    assert runstream_here.only_run().request.run_name == "mine"
    assert len(runstream_here.only_run().values("loss")) == 5


@pytest.fixture
def huggingface_callback(monkeypatch):
    transformers = ModuleType("transformers")
    transformers.TrainerCallback = type("TrainerCallback", (), {})
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.delitem(sys.modules, "runstream.integrations.huggingface", raising=False)
    return importlib.import_module("runstream.integrations.huggingface").RunstreamCallback


def train(callback, *, main_process):
    """What transformers' Trainer calls."""
    args = SimpleNamespace(run_name="bert", to_sanitized_dict=lambda: {"learning_rate": 0.1, "fp16": False})
    state = SimpleNamespace(is_world_process_zero=main_process, global_step=0)
    callback.on_train_begin(args, state, None, model=None)
    for step in (10, 20):
        state.global_step = step
        callback.on_log(args, state, None, logs={"loss": 1.0 / step, "note": "text"}, model=None)
    callback.on_train_end(args, state, None)


def test_transformers_logs_with_the_global_step(runstream_here: FakeServer, huggingface_callback):
    train(huggingface_callback(experiment="hf"), main_process=True)
    run = runstream_here.only_run()
    assert [(p[0], p[1], p[3]) for p in sorted(run.points)] == [("loss", 10, 0.1), ("loss", 20, 0.05)]
    assert run.params == {"learning_rate": "0.1", "fp16": "False"}
    assert (run.request.run_name, run.status_name) == ("bert", "FINISHED")


def test_transformers_logs_in_the_main_process_only(runstream_here: FakeServer, huggingface_callback):
    train(huggingface_callback(), main_process=False)
    assert runstream_here.runs == {}


def rank_zero_only(function):
    """lightning.fabric.utilities.rank_zero.rank_zero_only."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        return function(*args, **kwargs) if rank_zero_only.rank == 0 else None

    return wrapped


@pytest.fixture
def lightning_logger(monkeypatch):
    names = ("lightning", "lightning.pytorch", "lightning.pytorch.loggers")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    logger = ModuleType("lightning.pytorch.loggers.logger")
    logger.Logger = type("Logger", (), {})
    logger.rank_zero_experiment = lambda function: function
    utilities = ModuleType("lightning.pytorch.utilities")
    utilities.rank_zero_only = rank_zero_only
    monkeypatch.setitem(sys.modules, logger.__name__, logger)
    monkeypatch.setitem(sys.modules, utilities.__name__, utilities)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    monkeypatch.delitem(sys.modules, "runstream.integrations.lightning", raising=False)
    return importlib.import_module("runstream.integrations.lightning").RunstreamLogger


def test_lightning_logs_metrics_and_nested_hyperparameters(runstream_here: FakeServer, lightning_logger):
    logger = lightning_logger(experiment="lit", run_name="first")
    logger.log_hyperparams(Namespace(rate=0.1, net={"depth": 3}))
    logger.log_metrics({"train/loss": 0.5}, step=7)
    assert logger.version == logger.experiment.run_id
    logger.finalize("success")
    run = runstream_here.only_run()
    assert [(p[0], p[1], p[3]) for p in run.points] == [("train/loss", 7, 0.5)]
    assert run.params == {"rate": "0.1", "net.depth": "3"}
    assert (logger.name, run.status_name) == ("lit", "FINISHED")


def test_lightning_marks_a_failed_training(runstream_here: FakeServer, lightning_logger):
    logger = lightning_logger()
    logger.log_metrics({"loss": 0.5})
    logger.finalize("failed")
    assert runstream_here.only_run().status_name == "FAILED"


def test_lightning_is_silent_in_other_processes(runstream_here: FakeServer, lightning_logger, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = lightning_logger()
    logger.log_metrics({"loss": 0.5}, step=1)
    assert logger.version == ""
    assert runstream_here.runs == {}

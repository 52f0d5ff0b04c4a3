"""Trains small classifiers on scikit-learn's handwritten digits and logs every batch. This is what a user's code looks like."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import runstream
import sklearn
import yaml
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

CLASSES = np.arange(10)
SEED = 7


@dataclass(frozen=True)
class Setting:
    """One choice of hyper-parameters. `hidden_units` is 0 for a linear model."""

    learning_rate: float
    hidden_units: int = 0
    alpha: float = 1e-4
    batch_size: int = 32
    epochs: int = 25

    @property
    def name(self) -> str:
        """Short name of the run."""
        model = f"mlp-{self.hidden_units}" if self.hidden_units else "linear"
        alpha = "" if self.alpha == Setting.alpha else f" alpha={self.alpha:g}"
        return f"{model} lr={self.learning_rate:g}{alpha}"

    def model(self) -> SGDClassifier | MLPClassifier:
        """An untrained classifier."""
        if not self.hidden_units:
            return SGDClassifier(
                loss="log_loss",
                learning_rate="constant",
                eta0=self.learning_rate,
                alpha=self.alpha,
                random_state=SEED,
            )
        return MLPClassifier(
            (self.hidden_units,),
            learning_rate_init=self.learning_rate,
            alpha=self.alpha,
            random_state=SEED,
        )


SETTINGS = [
    Setting(0.0003),
    Setting(0.003),
    Setting(0.03),
    Setting(0.001, hidden_units=16),
    Setting(0.01, hidden_units=16),
    Setting(0.001, hidden_units=64),
    Setting(0.003, hidden_units=64),
    Setting(0.01, hidden_units=64),
    Setting(0.003, hidden_units=64, alpha=1.0),
]


@dataclass(frozen=True)
class Trained:
    """What one training logged: the columns of each metric, kept to be compared with what the server answers.

    `flushed` says where the points lie on the bus, so that a reader elsewhere can wait until they are queryable.
    """

    run_id: str
    name: str
    logged: dict[str, tuple[np.ndarray, np.ndarray]]
    flushed: runstream.FlushResult


class MetricRecorder:
    """Logs to a run and remembers what it logged. Only the demo's final proof needs the memory."""

    def __init__(self, run: runstream.Run) -> None:
        self._run = run
        self._points: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def log(self, step: int, **metrics: float) -> None:
        """Log metrics at a step."""
        self._run.log_metrics(metrics, step=step)
        for key, value in metrics.items():
            self._points[key].append((step, value))

    def columns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Steps and values by metric, in the order in which they were logged."""
        return {
            key: (np.array([s for s, _ in points], np.int64), np.array([v for _, v in points]))
            for key, points in self._points.items()
        }


def train(setting: Setting, experiment: str) -> Trained:
    """Train one model as one run. Runs in a process of its own."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=0.25, random_state=SEED, stratify=labels)
    train_x, valid_x, train_y, valid_y = parts
    model = setting.model()
    shuffle = np.random.default_rng(SEED)
    with runstream.start_run(experiment=experiment, run_name=setting.name) as run:
        run.log_params(
            {**asdict(setting), "batches": setting.epochs * -(-len(train_x) // setting.batch_size)}
        )
        recorder = MetricRecorder(run)
        step = 0
        for _ in range(setting.epochs):
            order = shuffle.permutation(len(train_x))
            for start in range(0, len(order), setting.batch_size):
                batch = order[start : start + setting.batch_size]
                model.partial_fit(train_x[batch], train_y[batch], classes=CLASSES)
                loss, accuracy = evaluate(model, train_x[batch], train_y[batch])
                step += 1
                recorder.log(step, train_loss=loss, train_accuracy=accuracy)
            loss, accuracy = evaluate(model, valid_x, valid_y)
            recorder.log(step, validation_loss=loss, validation_accuracy=accuracy)
        store_model(run, model)
        flushed = run.flush()
    return Trained(run.run_id, setting.name, recorder.columns(), flushed)


def store_model(run: runstream.Run, model: SGDClassifier | MLPClassifier) -> None:
    """Store a model among the run's artifacts, with an MLmodel file as MLflow writes it."""
    image = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 64]}}
    digit = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    flavor = {
        "pickled_model": "model.pkl",
        "serialization_format": "pickle",
        "sklearn_version": sklearn.__version__,
    }
    description = {
        "artifact_path": "model",
        "flavors": {"sklearn": flavor},
        "run_id": run.run_id,
        "signature": {"inputs": json.dumps([image]), "outputs": json.dumps([digit])},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.pkl").write_bytes(pickle.dumps(model))
        Path(folder, "MLmodel").write_text(yaml.safe_dump(description))
        run.log_artifacts(folder, "model")


def evaluate(
    model: SGDClassifier | MLPClassifier, images: np.ndarray, labels: np.ndarray
) -> tuple[float, float]:
    """Mean log loss and accuracy."""
    probabilities = model.predict_proba(images)
    of_label = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(of_label, np.finfo(float).tiny)).mean()
    return float(loss), float(np.mean(probabilities.argmax(axis=1) == labels))

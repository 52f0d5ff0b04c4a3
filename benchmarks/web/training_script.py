"""A training process as its author sees it; prints one line of JSON with its seconds.

Arguments: "log_metric" or "autolog", "bare" or a tracking URI, and how many calls or models.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlflow
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

ROWS = 2_000


def log_metric(count: int, *, tracked: bool) -> float:
    """Seconds of a loop with a call of `mlflow.log_metric` in each step, everything stored."""
    started = time.perf_counter()
    run: AbstractContextManager[Any] = mlflow.start_run() if tracked else nullcontext()
    with run:
        for step in range(count):
            if tracked:
                mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    return time.perf_counter() - started


def autolog(count: int, *, tracked: bool) -> float:
    """Seconds of fitting models, each a run of its own that autologging fills; models themselves are not stored."""
    features, labels = make_classification(ROWS, random_state=7)
    if tracked:
        mlflow.sklearn.autolog(log_models=False, silent=True)
    # The first fit imports and inspects; it happens once in a process, not once a run.
    LogisticRegression(C=1.0).fit(features, labels)
    started = time.perf_counter()
    for number in range(count):
        LogisticRegression(C=1.0 + number / 100).fit(features, labels)
    return time.perf_counter() - started


def main(kind: str, uri: str, count: int) -> None:
    """Train and print the time."""
    tracked = uri != "bare"
    if tracked:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("training")
    train = {"log_metric": log_metric, "autolog": autolog}[kind]
    print(json.dumps({"seconds": train(count, tracked=tracked)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

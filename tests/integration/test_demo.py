"""The main job as a user starts it, on fewer models, and that its proof can fail."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from runstream import FlushResult
from runstream.query.results_metrics import MetricHistory

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
POINTS_PER_MODEL = 2 * 1075 + 2 * 25


def test_demo_trains_and_finds_every_point() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), "--models", "2"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {2 * POINTS_PER_MODEL:,} logged points are queryable." in done.stdout
    assert "Leaderboard" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The demo's module, with whose neighbours it is imported."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    yield demo
    for name in ("demo", "digits_training"):
        sys.modules.pop(name)


class Answers:
    """The part of the client that the proof asks, over one history."""

    def __init__(self, steps: list[int], values: list[float]) -> None:
        self._history = MetricHistory(
            "r", "loss", np.array(steps), np.zeros(len(steps), np.int64), np.array(values)
        )

    def list_metrics(self, _run_ids: list[str], wait_for: FlushResult) -> list[object]:
        summary = dataclasses.make_dataclass("Summary", ["key", "point_count"])
        return [summary("loss", len(self._history.steps)), summary("system/cpu", 5)]

    def metric_history(self, _run_id: str, _key: str) -> MetricHistory:
        return self._history


@pytest.mark.parametrize(
    ("steps", "values", "complete"),
    [
        ([1, 2], [0.5, 0.25], True),
        ([2, 1], [0.25, 0.5], True),
        ([1], [0.5], False),
        ([1, 2, 3], [0.5, 0.25, 0.1], False),
        ([1, 2], [0.5, 0.26], False),
        ([1, 3], [0.5, 0.25], False),
    ],
    ids=["as logged", "in another order", "one lost", "one too many", "another value", "another step"],
)
def test_proof_notices_any_difference(
    demo: ModuleType, steps: list[int], values: list[float], complete: bool
) -> None:
    logged = {"loss": (np.array([1, 2]), np.array([0.5, 0.25]))}
    trained = [demo.Trained("r", "model", logged, FlushResult())]
    assert demo.prove_every_point(Answers(steps, values), trained) is complete

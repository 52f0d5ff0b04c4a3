"""The same scenario against MLflow's own server and against ours shows the same."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.normalise import Normaliser
from tests.conformance.scenarios import every_scenario
from tests.conformance.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer


@pytest.mark.parametrize("scenario", [pytest.param(play, id=name) for name, play in every_scenario()])
def test_same_as_mlflow(
    scenario: Callable[[World], None], mlflow_server: MlflowServer, gateway_url: str, tmp_path: Path
) -> None:
    label = uuid.uuid4().hex[:8]
    theirs = _played(scenario, mlflow_server.url, label, tmp_path / "theirs")
    ours = _played(scenario, gateway_url, label, tmp_path / "ours")
    assert theirs, "the scenario notes nothing"
    assert ours == theirs


def _played(scenario: Callable[[World], None], url: str, label: str, folder: Path) -> list[tuple[str, Any]]:
    folder.mkdir()
    world = World(url, label, folder)
    scenario(world)
    normalise = Normaliser()
    return [(normalise(what), normalise(value)) for what, value in world.seen]

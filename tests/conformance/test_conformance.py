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


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("scenario", [pytest.param(play, id=name) for name, play in every_scenario()])
def test_same_as_mlflow(
    scenario: Callable[[World], None], mlflow_server: MlflowServer, gateway_url: str, tmp_path: Path
) -> None:
    label = uuid.uuid4().hex[:8]
    theirs = _played(scenario, mlflow_server.url, label, tmp_path / "theirs")
    ours = _played(scenario, gateway_url, label, tmp_path / "ours")
    assert theirs, "the scenario notes nothing"
    assert ours == [_wanted(what, value, dict(ours).get(what)) for what, value in theirs]


def _wanted(what: str, theirs: Any, ours: Any) -> tuple[str, Any]:
    """What ours must show: the same, except that where MLflow itself breaks (500) a refusal is right."""
    return what, ours if _is_crash(theirs) and _is_refusal(ours) else theirs


def _is_crash(value: Any) -> bool:
    return value == 500 or (
        isinstance(value, list) and bool(value) and (value[0] == 500 or value[1:2] == ["INTERNAL_ERROR"])
    )


def _is_refusal(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return value == 400
    return value[0] == 400 or value[1] in (
        "INVALID_PARAMETER_VALUE",
        "BAD_REQUEST",
        "RESOURCE_DOES_NOT_EXIST",
    )


def _played(scenario: Callable[[World], None], url: str, label: str, folder: Path) -> list[tuple[str, Any]]:
    folder.mkdir()
    world = World(url, label, folder)
    scenario(world)
    normalise = Normaliser()
    return [(normalise(what), normalise(value)) for what, value in world.seen]

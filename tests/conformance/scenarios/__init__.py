"""Scenarios: functions named ``scenario_*`` that take a World, one module a subject."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.world import World

_PREFIX = "scenario_"


def every_scenario() -> Iterator[tuple[str, Callable[[World], None]]]:
    """Name and function of each scenario of this package."""
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for name, value in list(vars(loaded).items()):
            if name.startswith(_PREFIX) and callable(value):
                yield f"{module.name}.{name.removeprefix(_PREFIX)}", value

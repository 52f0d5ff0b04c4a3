"""What of the SDK can be set, each by an environment variable RUNSTREAM_<NAME>."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def default_spool_dir() -> Path:
    """Where data waits while the server is away: the user's state directory."""
    return platformdirs.user_state_path("runstream") / "spool"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the logging half of the SDK."""

    experiment: str = ""
    """Experiment of runs that name none; empty means "Default"."""
    spool_dir: Path = field(default_factory=default_spool_dir)
    """Where data waits while the server is away."""
    spool_max_bytes: int = 1024 * 1024 * 1024
    """Bound of everything under spool_dir; beyond it points are dropped and counted."""
    buffer_points: int = 1_000_000
    """Points of one run that wait for the background thread, 24 bytes each."""
    memory_max_bytes: int = 64 * 1024 * 1024
    """Bytes of encoded batches that wait for an acknowledgement; beyond it they go to the spool."""
    flush_interval_ms: int = 200
    """How often the background thread collects points."""
    request_timeout_seconds: float = 5.0
    """Longest time that log_param and the like wait for the server before they go to the spool."""
    lease_seconds: float = 60.0
    """A run whose process is silent for so long is marked lost; 5 to 86,400."""
    system_metrics: bool = True
    """Whether CPU, memory, disk, network and GPU are sampled."""
    system_metrics_interval_seconds: float = 10.0
    """Time between two samples."""
    capture: bool = True
    """Whether git state, command line, Python and packages become tags."""
    exit_timeout_seconds: float = 60.0
    """Longest time that the process waits at its end for a reachable server to take what is left."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InvalidArgument.of(name, f"is {getattr(self, name)}, must be at least {least}")

    @classmethod
    def load(cls, overrides: Mapping[str, object] | None = None) -> Settings:
        """Settings from the environment.

        Args:
            overrides: field names with values that take the environment's place; None is skipped.

        Raises:
            InvalidArgument: a value cannot be read or is out of its bounds; names the variable.
        """
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        for item in fields(cls):
            text = os.environ.get(f"RUNSTREAM_{item.name.upper()}", "")
            if text and item.name not in given:
                given[item.name] = _parse(item.name, str(item.type), text)
        return cls(**given)  # type: ignore[arg-type]  # _parse follows the fields' types


_LEAST: Mapping[str, float] = {
    "spool_max_bytes": 0,
    "buffer_points": 1,
    "memory_max_bytes": 1,
    "flush_interval_ms": 1,
    "request_timeout_seconds": 0.1,
    "lease_seconds": 5,
    "system_metrics_interval_seconds": 0.1,
    "exit_timeout_seconds": 0,
}


def _parse(name: str, kind: str, text: str) -> object:
    try:
        if kind == "bool":
            return _boolean(text)
        return {"int": int, "float": float, "Path": Path, "str": str}[kind](text)
    except ValueError as error:
        raise InvalidArgument.of(f"RUNSTREAM_{name.upper()}", f"{text!r} is no {kind}") from error


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE

"""Ways out to pandas, Arrow and JSON, with a clear word when an extra is not installed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pandas() -> Any:
    """The pandas module.

    Raises:
        ImportError: it is not installed; the text names the extra.
    """
    return require("pandas", extra="pandas")


def arrow() -> Any:
    """The pyarrow module.

    Raises:
        ImportError: it is not installed; the text names the extra.
    """
    return require("pyarrow", extra="arrow")


def require(module: str, *, extra: str) -> Any:
    """Import an optional module.

    Args:
        module: its import name.
        extra: the extra of this package that brings it.

    Raises:
        ImportError: it is not installed; the text names the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{module} is not installed; install it with: pip install 'runstream[{extra}]'", name=module
        ) from error


def arrow_table(columns: Mapping[str, Any]) -> Any:
    """An Arrow table of columns; times become timestamp[ms, UTC], numpy arrays are taken without copying."""
    pyarrow = arrow()
    return pyarrow.table({name: _arrow_array(pyarrow, values) for name, values in columns.items()})


def _arrow_array(pyarrow: Any, values: Any) -> Any:
    if isinstance(values, list) and any(isinstance(value, datetime) for value in values):
        return pyarrow.array(values, pyarrow.timestamp("ms", tz="UTC"))
    return pyarrow.array(values)


def time_of(milliseconds: int) -> datetime:
    """A moment in UTC; milliseconds since the Unix epoch beyond what a datetime holds become its bounds."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if milliseconds > 0 else datetime.min.replace(tzinfo=UTC)


def time_text(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and Z; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_number(value: float) -> float | str:
    """The number, or "NaN", "Infinity" and "-Infinity" (protobuf's JSON mapping), which JSON cannot hold."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value

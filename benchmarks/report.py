"""Results of a benchmark run: one line a claim, as a table and as JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

DEFAULT_PATH = Path(__file__).with_name("results") / "latest.json"

_HIGHER_IS_BETTER = frozenset({"points/s", "runs/s", "calls/s", "events/s", "versions/s", "files/s", "MB/s"})
_LOWER_IS_BETTER = frozenset({"s", "ms", "us", "us/call", "MB", "MiB", "x cost"})
_HEADINGS = ("name", "topology", "unit", "value", "peer", "ratio")


class ResultRow(TypedDict):
    """One entry of the JSON file."""

    name: str
    topology: str
    unit: str
    value: float
    peer: float | None
    ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured claim.

    Args:
        name: What was measured, e.g. `accepted`.
        topology: `embedded` or `kafka`.
        unit: A known unit, which says whether more or less is better.
        value: Our figure, in `unit`.
        peer: The peer's figure in the same unit, from the same run; None when it has no counterpart.

    Raises:
        ValueError: an unknown unit, or a figure that is not finite and positive (it would mean
            that nothing was measured).
    """

    name: str
    topology: str
    unit: str
    value: float
    peer: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if self.unit not in _HIGHER_IS_BETTER | _LOWER_IS_BETTER:
            raise ValueError(f"{self.name}: unknown unit {self.unit!r}")
        for figure in (self.value, self.peer):
            if figure is not None and not (math.isfinite(figure) and figure > 0):
                raise ValueError(f"{self.name}: {figure} {self.unit} is not a measurement")

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; below 1 the peer is better; None without a peer."""
        if self.peer is None:
            return None
        return self.value / self.peer if self.unit in _HIGHER_IS_BETTER else self.peer / self.value

    def row(self) -> ResultRow:
        """Return the JSON entry, figures rounded to four significant digits."""
        return {
            "name": self.name,
            "topology": self.topology,
            "unit": self.unit,
            "value": _rounded(self.value),
            "peer": None if self.peer is None else _rounded(self.peer),
            "ratio": None if self.ratio is None else _rounded(self.ratio),
        }


def in_order(results: Iterable[Result]) -> list[Result]:
    """Return the results by name, topology and unit, so that two runs can be compared line by line."""
    return sorted(results, key=lambda result: (result.name, result.topology, result.unit))


def table(results: Iterable[Result]) -> str:
    """Return the results as text: the name first, figures aligned right."""
    cells = [_HEADINGS, *(_cells(result.row()) for result in in_order(results))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    return "\n".join(
        _line(line, widths) for line in (cells[0], tuple("-" * width for width in widths), *cells[1:])
    )


def write_json(results: Iterable[Result], path: Path = DEFAULT_PATH) -> None:
    """Write the results as a JSON list, replacing the file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [result.row() for result in in_order(results)]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(rows, indent=2) + "\n")
    partial.replace(path)


def publish(results: Iterable[Result], path: Path = DEFAULT_PATH) -> None:
    """Print the table and write the JSON file."""
    kept = list(results)
    print(table(kept))
    write_json(kept, path)


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")


def _cells(row: ResultRow) -> tuple[str, ...]:
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:,g} x"
    return (row["name"], row["topology"], row["unit"], _figure(row["value"]), _figure(row["peer"]), ratio)


def _figure(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:g}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    texts = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join(texts + figures)

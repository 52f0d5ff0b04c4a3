"""Charts of metrics: one panel a key, one line a run; in the terminal (plotext) and as a PNG (matplotlib)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runstream.query.frames import require, time_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runstream_contract.columns import Float64Array

    from runstream.query.results_metrics import SampledHistory

AXIS_LABELS = {"step": "step", "time": "time (UTC)", "relative_time": "seconds from the start"}
MIN_HEIGHT_ROWS, MIN_WIDTH_COLUMNS = 8, 30


@dataclass(frozen=True, slots=True)
class Line:
    """One run's points in a panel; values are finite.

    Attributes:
        low: least value of each bucket; None when the points are not buckets.
        high: greatest value of each bucket; None when the points are not buckets.
    """

    label: str
    x: Float64Array
    y: Float64Array
    low: Float64Array | None
    high: Float64Array | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric key with a line a run."""

    key: str
    axis: str
    lines: tuple[Line, ...]


def panels_of(histories: Sequence[SampledHistory], labels: Mapping[str, str]) -> tuple[Panel, ...]:
    """Group histories by key, in the order in which the keys come.

    Args:
        histories: downsampled histories.
        labels: what to call each run id.
    """
    keys = dict.fromkeys(history.key for history in histories)
    return tuple(
        Panel(
            key,
            next(history.axis for history in histories if history.key == key),
            tuple(_line(h, labels.get(h.run_id, h.run_id)) for h in histories if h.key == key),
        )
        for key in keys
    )


def _line(history: SampledHistory, label: str) -> Line:
    finite = np.isfinite(history.values)
    x = history.axis_values[finite].astype(float)
    low, high = history.min_values, history.max_values
    return Line(
        label,
        x / 1000 if history.axis == "relative_time" else x,
        history.values[finite],
        None if low is None else low[finite],
        None if high is None else high[finite],
    )


def draw_terminal(panels: Sequence[Panel], *, width: int, height: int, color: bool) -> str:
    """Text with one chart a panel, for a terminal.

    Args:
        panels: what to draw.
        width: columns of the terminal.
        height: rows of one panel.
        color: whether escape codes may be used; without it, lines are told apart by their marks.

    Raises:
        ImportError: plotext is not installed; the text names the extra.
    """
    plotext = require("plotext", extra="plot")
    plotext.terminal.limit(False, False)
    size = max(width, MIN_WIDTH_COLUMNS), max(height, MIN_HEIGHT_ROWS)
    return "\n".join(_panel_text(plotext, panel, size, color=color) for panel in panels)


# Colours of the 256-colour palette that show on light and on dark terminals, and marks for those without colour.
_COLORS = (33, 208, 35, 161, 99, 136, 37, 244)
_MARKS = ("●", "x", "+", "○", "◆", "▲", "*", "#")
_TICKS = 6


def _panel_text(plotext: Any, panel: Panel, size: tuple[int, int], *, color: bool) -> str:
    figure = plotext.figure
    figure.clear()
    figure.plot_size(*size)
    figure.theme("colorless")
    lines = [line for line in panel.lines if len(line.y)]
    for number, line in enumerate(lines):
        # Without colour a line alone needs no mark of its own, and blocks are finer than marks.
        plain = "hd" if len(lines) == 1 else _MARKS[number % len(_MARKS)]
        mark = plotext.marker("hd", _COLORS[number % len(_COLORS)]) if color else plain
        figure.draw(figure.signal(line.x.tolist(), line.y.tolist(), marker=mark).lines())
    if lines:
        figure.ruler("x").ticks(*_ticks(panel, lines))
    figure.title(panel.key)
    figure.label(AXIS_LABELS[panel.axis])
    chart = "\n".join(
        line.removesuffix("\x1b[0m").rstrip() for line in str(figure.build()).rstrip().split("\n")
    )
    return f"{chart if color else chart.replace(_RESET, '')}\n{_legend(lines, color=color)}\n"


_RESET = "\x1b[0m"


def _legend(lines: Sequence[Line], *, color: bool) -> str:
    if not lines:
        return "  no finite values"
    names = []
    for number, line in enumerate(lines):
        if color:
            names.append(f"\x1b[38;5;{_COLORS[number % len(_COLORS)]}m━━{_RESET} {line.label}")
        else:
            names.append(line.label if len(lines) == 1 else f"{_MARKS[number % len(_MARKS)]} {line.label}")
    return "  " + "   ".join(names)


def _ticks(panel: Panel, lines: Sequence[Line]) -> tuple[list[float], list[str]]:
    """Positions along the axis and what stands there."""
    low, high = min(float(line.x.min()) for line in lines), max(float(line.x.max()) for line in lines)
    places = list(dict.fromkeys(float(place) for place in np.linspace(low, high, _TICKS)))
    if panel.axis == "time":
        # Within a day the clock says more than the date.
        form = "%H:%M:%S" if high - low < _DAY_MS else "%m-%d %H:%M"
        return places, [f"{time_of(round(place)):{form}}" for place in places]
    if panel.axis == "step":
        places = list(dict.fromkeys(float(round(place)) for place in places))
        return places, [f"{place:.0f}" for place in places]
    return places, [f"{place:.4g}" for place in places]


_DAY_MS = 24 * 3600 * 1000


def save_png(panels: Sequence[Panel], path: Path) -> None:
    """Write the charts to an image; the bucket's range is a band behind its line.

    Args:
        panels: what to draw.
        path: file; its suffix says the format, such as .png, .svg or .pdf.

    Raises:
        ImportError: matplotlib is not installed; the text names the extra.
        OSError: the file cannot be written.
        ValueError: the format is not known.
    """
    require("matplotlib", extra="plot")
    # The object interface with its own canvas: no window system, and nothing global is changed.
    figures = require("matplotlib.figure", extra="plot")
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    figure = figures.Figure(figsize=(8 * columns if columns == 1 else 12, 4.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, axis in zip(panels, axes, strict=False):
        _draw_axis(axis, panel)
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.savefig(path, dpi=120)


def _draw_axis(axis: Any, panel: Panel) -> None:
    for line in panel.lines:
        x = line.x.astype("datetime64[ms]") if panel.axis == "time" else line.x
        (drawn,) = axis.plot(x, line.y, linewidth=1.4, label=line.label)
        if line.low is not None and line.high is not None:
            axis.fill_between(x, line.low, line.high, alpha=0.15, color=drawn.get_color(), linewidth=0)
    axis.set_title(panel.key)
    axis.set_xlabel(AXIS_LABELS[panel.axis])
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize="small")

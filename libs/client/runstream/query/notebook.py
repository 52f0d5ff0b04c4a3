"""HTML for notebooks: tables of runs and an inline SVG sparkline for histories; no script, no style sheet."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runstream_contract.columns import Float64Array, Int64Array

    from runstream.query.results import Run, RunComparison, RunTable

WIDTH, HEIGHT, MARGIN = 320, 56, 3
# A line of a chart 320 px wide gains nothing from more; min and max of each piece keep the spikes.
MAX_SPARKLINE_PIECES = 160
MAX_ROWS = 50
MAX_COLUMNS = 12


def sparkline_svg(x: Int64Array, y: Float64Array) -> str:
    """An SVG line of a series, min and max kept where there are more points than pixels.

    Args:
        x: int64, shape (n,).
        y: float64, shape (n,); NaN and infinities leave gaps.
    """
    keep = np.isfinite(y)
    across, up = _thinned(x[keep].astype(float), y[keep])
    places = zip(_scaled(across, WIDTH), HEIGHT - _scaled(up, HEIGHT), strict=True)
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f'<polyline fill="none" stroke="#2563eb" stroke-width="1.5" stroke-linejoin="round" points="{points}"/></svg>'
    )


def _thinned(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(y) <= 2 * MAX_SPARKLINE_PIECES:
        return x, y
    starts = np.linspace(0, len(y), MAX_SPARKLINE_PIECES, endpoint=False, dtype=int)
    positions = np.repeat(x[starts], 2)
    extremes = np.column_stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)])
    return positions, extremes.ravel()


def _scaled(numbers: Float64Array, size: int) -> Float64Array:
    if not len(numbers):
        return numbers
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return np.full(len(numbers), size / 2)
    # Halved first, since the distance of the largest doubles is beyond them.
    share = (numbers / 2 - low / 2) / (high / 2 - low / 2)
    return MARGIN + share * (size - 2 * MARGIN)


def history_html(
    run_id: str, key: str, axis: Int64Array, values: Float64Array, total_point_count: int | None = None
) -> str:
    """One history: its key, its facts and its sparkline."""
    count = f"{len(values):,} points"
    if total_point_count is not None and total_point_count != len(values):
        count = f"{len(values):,} of {total_point_count:,} points"
    facts = [f"run {escape(run_id)}", count]
    finite = values[np.isfinite(values)]
    if len(finite):
        facts.append(f"min {finite.min():.6g}, max {finite.max():.6g}, last {values[-1]:.6g}")
    return (
        f'<div><b>{escape(key)}</b> <span style="color:#6b7280">{" · ".join(facts)}</span><br/>'
        f"{sparkline_svg(axis, values)}</div>"
    )


def run_html(run: Run) -> str:
    """One run: its facts, params and latest metrics."""
    groups: list[tuple[str, Mapping[str, Any]]] = [("Params", run.params), ("Metrics", run.metrics)]
    tables = "".join(table_html([title, ""], group.items()) for title, group in groups if group)
    reason = f" ({escape(run.status_reason)})" if run.status_reason else ""
    return (
        f"<div><b>{escape(run.run_name)}</b> {escape(run.status)}{reason} "
        f'<span style="color:#6b7280">run {escape(run.run_id)} · experiment {escape(run.experiment_id)}</span>{tables}</div>'
    )


def runs_html(table: RunTable) -> str:
    """The first rows and columns of a table of runs."""
    columns = {n: v for n, v in table[:MAX_ROWS].columns().items() if not n.startswith("tags.") and any(v)}
    names = list(columns)[:MAX_COLUMNS]
    rows = zip(*(columns[name] for name in names), strict=True)
    note = f"{len(table)} runs" if len(table) <= MAX_ROWS else f"first {MAX_ROWS} of {len(table)} runs"
    return f"{table_html(names, rows)}<small>{note}</small>"


def comparison_html(comparison: RunComparison) -> str:
    """Params and metrics of the runs side by side; what differs is bold."""
    head = "".join(f"<th>{escape(text)}</th>" for text in ["", *(run.run_name for run in comparison.runs)])
    lines = []
    for row in comparison.rows():
        tag = "th" if row.differs else "td"
        cells = "".join(f"<{tag}>{_cell(value)}</{tag}>" for value in row.values)
        lines.append(f"<tr><td>{escape(row.kind)} {escape(row.key)}</td>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def table_html(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; cells are texts, numbers or None, and are escaped."""
    header = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))

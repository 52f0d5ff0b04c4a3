"""`runstream metrics`: look at, plot and follow metrics."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from runstream_common.errors import InvalidArgument, NotFound

from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.query import frames, plots
from runstream.query.client import Client
from runstream.query.results_metrics import MetricHistory, MetricSummary

app = typer.Typer(no_args_is_help=True, help="Show, plot and follow metrics.")

# More panels than these fill a terminal several times over; the user had better choose.
MAX_UNASKED_PANELS = 8
PANEL_ROWS = 18

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="32 hexadecimal characters.")]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="32 hexadecimal characters each.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", "-k", help="Metric key; repeatable. Default: every key.")
]
StartStep = Annotated[int | None, typer.Option(help="Least step, inclusive.")]
EndStep = Annotated[int | None, typer.Option(help="Greatest step, inclusive.")]


@app.command()
def show(
    run_id: RunId,
    key: Annotated[str | None, typer.Argument(help="Metric key; without it every metric is listed.")] = None,
    *,
    start_step: StartStep = None,
    end_step: EndStep = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Points to print at most.")] = 100,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the metrics of a run, or print the history of one of them."""
    with Client(url) as client:
        if key is None:
            _print_summaries(summaries_of(client, [run_id]), json)
            return
        history = client.metric_history(run_id, key, start_step=start_step, end_step=end_step)
        if not len(history):
            _check_key(client, run_id, key)
    if json:
        output.print_json(history.to_dict())
        return
    first = _slice(history, 0, limit)
    output.print_table(["step", "time", "value"], _point_rows(first))
    if len(history) > limit:
        output.hint(f"first {limit} of {len(history):,} points; --limit shows more, `metrics plot` shows all")


def summaries_of(client: Client, run_ids: list[str]) -> tuple[MetricSummary, ...]:
    """The metrics of runs; raises NotFound for a run that does not exist, which the service counts as empty."""
    summaries = client.list_metrics(run_ids)
    missing = set(run_ids) - {summary.run_id for summary in summaries}
    if missing:
        client.compare_runs(sorted(missing))
    return summaries


def _check_key(client: Client, run_id: str, key: str) -> None:
    known = [summary.key for summary in summaries_of(client, [run_id])]
    if key not in known:
        names = ", ".join(known) or "none"
        raise NotFound(f"run {run_id} has no metric {key!r}; it has: {names}", reason="METRIC_NOT_FOUND")


def _print_summaries(summaries: tuple[MetricSummary, ...], json: bool) -> None:
    if json:
        output.print_json({"metrics": [summary.to_dict() for summary in summaries]})
        return
    output.print_table(
        ["metric", "latest", "step", "time", "points", "steps"],
        [
            [
                s.key,
                s.latest.value,
                s.latest.step,
                output.time_cell(s.latest.timestamp),
                f"{s.point_count:,}",
                f"{s.min_step} to {s.max_step}",
            ]
            for s in summaries
        ],
    )


@app.command()
def plot(
    run_ids: RunIds,
    *,
    key: Keys = None,
    axis: Annotated[str, typer.Option(help="step, time or relative_time.")] = "step",
    max_points: Annotated[int, typer.Option(min=1, max=10_000, help="Points of a line at most.")] = 1000,
    start_step: StartStep = None,
    end_step: EndStep = None,
    save: Annotated[
        Path | None, typer.Option("--save", dir_okay=False, help="Write an image (.png, .svg, .pdf) instead.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Columns; default the terminal's.")] = None,
    height: Annotated[int, typer.Option(help="Rows of one chart.")] = PANEL_ROWS,
    url: Url = None,
    json: Json = False,
) -> None:
    """Plot metrics in the terminal, one chart a key and one line a run; --save writes an image."""
    with Client(url) as client:
        keys = key or _keys_to_plot(client, run_ids)
        histories = client.sampled_histories(
            run_ids, keys, max_points=max_points, axis=axis, start_step=start_step, end_step=end_step
        )
        if not histories:
            _check_key(client, run_ids[0], keys[0])
        labels = {run.run_id: f"{run.run_name} ({run.run_id[:8]})" for run in client.get_runs(run_ids)}
    panels = plots.panels_of(histories, labels)
    if save is not None:
        _save(panels, save)
    if json:
        output.print_json({"histories": [history.to_dict() for history in histories]})
    elif save is not None:
        typer.echo(f"wrote {save}")
    else:
        columns = width or shutil.get_terminal_size().columns
        typer.echo(plots.draw_terminal(panels, width=columns, height=height, color=sys.stdout.isatty()))


def _keys_to_plot(client: Client, run_ids: list[str]) -> list[str]:
    keys = list(dict.fromkeys(summary.key for summary in summaries_of(client, run_ids)))
    if not keys:
        raise NotFound("there are no metrics to plot", reason="METRIC_NOT_FOUND")
    if len(keys) > MAX_UNASKED_PANELS:
        raise InvalidArgument.of("--key", f"choose among {len(keys)} metrics: {', '.join(keys)}")
    return keys


def _save(panels: tuple[plots.Panel, ...], path: Path) -> None:
    try:
        plots.save_png(panels, path)
    except ValueError as error:
        raise InvalidArgument.of("--save", str(error)) from error


@app.command()
def tail(
    run_ids: RunIds,
    *,
    key: Keys = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until every run has ended.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=10_000, help="Last points of each metric.")
    ] = 10,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print the last points of metrics, and with --follow new ones as they become queryable."""
    with Client(url) as client:
        found = summaries_of(client, run_ids)
        if follow:
            _print_parts(client.watch_metrics(run_ids, key or (), backlog_points=lines), len(run_ids), json)
            return
        wanted = [summary for summary in found if not key or summary.key in key]
        _print_parts(
            (_last_points(client, summary, lines) for summary in wanted if lines), len(run_ids), json
        )


def _last_points(client: Client, summary: MetricSummary, count: int) -> MetricHistory:
    """The last points by step; reads backwards in growing windows, so that a long history costs little (C2)."""
    span = count
    while True:
        start = max(summary.min_step, summary.max_step - span + 1)
        history = client.metric_history(summary.run_id, summary.key, start_step=start)
        if len(history) >= count or start == summary.min_step:
            return _slice(history, max(0, len(history) - count), len(history))
        span *= 8


def _print_parts(parts: Iterable[MetricHistory], run_count: int, json: bool) -> None:
    for part in parts:
        for step, time_ms, value in zip(*_lists(part), strict=True):
            if json:
                names = {"run_id": part.run_id, "key": part.key, "step": step, "timestamp_ms": time_ms}
                output.print_json_line({**names, "value": frames.json_number(value)})
            else:
                run = f"{part.run_id[:8]}  " if run_count > 1 else ""
                typer.echo(f"{_clock(time_ms)}  {run}{part.key}  step {step}  {value:.6g}")


def _slice(history: MetricHistory, start: int, end: int) -> MetricHistory:
    part = slice(start, end)
    return MetricHistory(
        history.run_id, history.key, history.steps[part], history.timestamps_ms[part], history.values[part]
    )


def _lists(history: MetricHistory) -> tuple[list[Any], ...]:
    return history.steps.tolist(), history.timestamps_ms.tolist(), history.values.tolist()


def _point_rows(history: MetricHistory) -> list[list[Any]]:
    return [[step, _clock(time_ms), value] for step, time_ms, value in zip(*_lists(history), strict=True)]


def _clock(time_ms: int) -> str:
    return f"{frames.time_of(time_ms).astimezone():%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03d}"

"""`runstream export`: runs and metric histories as files for other tools."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from runstream_common.errors import InvalidArgument

from runstream.cli import output
from runstream.cli.migrate import export_mlflow
from runstream.cli.options import Filter, Json, Url, View
from runstream.cli.runs import Experiments, all_experiments
from runstream.query import export as exporting
from runstream.query.client import Client
from runstream.query.results import Run

app = typer.Typer(
    no_args_is_help=True, help="Write runs or metric histories to Parquet or CSV, or everything to MLflow."
)
app.command("mlflow")(export_mlflow)

Target = Annotated[
    Path, typer.Argument(metavar="FILE", dir_okay=False, help="File to write; .parquet or .csv.")
]
Format = Annotated[str | None, typer.Option("--format", help="parquet or csv; default by the file's suffix.")]


@app.command()
def runs(
    target: Target,
    *,
    experiment: Experiments = None,
    filter_string: Filter = "",
    view: View = "active",
    file_format: Format = None,
    lineage: Annotated[
        bool,
        typer.Option(
            "--lineage",
            help="Also code commit, datasets, model versions, and number, size and digest of files.",
        ),
    ] = False,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            "--artifacts",
            file_okay=False,
            help="Also fetch the files of every run into this folder, below its run id. What is there is not fetched.",
        ),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Write runs, one row each, with params, latest metrics and tags."""
    form = exporting.format_of(target, file_format)
    with Client(url) as client:
        found = client.search_runs(experiment or all_experiments(client), filter_string, view=view)
        if artifacts is not None:
            found = _with_files(client, found, artifacts)
        count = exporting.export_runs(found, target, form, lineage_from=client if lineage else None)
    _done(target, form, "run_count", count, "runs", json)


def _with_files(client: Client, runs: Iterator[Run], folder: Path) -> Iterator[Run]:
    """The runs, each with its files fetched before it is written, so that a row means that they are there."""
    for run in runs:
        if client.artifacts.usage(run.run_id).file_count:
            client.artifacts.download(run.run_id, to=folder / run.run_id)
        yield run


@app.command()
def metrics(
    target: Target,
    *,
    run: Annotated[list[str] | None, typer.Option("--run", "-r", help="Run id; repeatable.")] = None,
    experiment: Experiments = None,
    filter_string: Filter = "",
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", help="Metric key; repeatable. Default: all.")
    ] = None,
    file_format: Format = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Write whole metric histories, one row a point, of the runs named or found."""
    if run and (experiment or filter_string):
        raise InvalidArgument.of("--run", "name runs, or search them by --experiment and --filter, not both")
    form = exporting.format_of(target, file_format)
    with Client(url) as client, _progress() as progress:
        if run:
            client.compare_runs(run)  # an unknown run has no points, and must not look like an empty one
        bar = progress.add_task("points", total=None)
        ids = run or _found(client, experiment, filter_string)
        count = exporting.export_metrics(
            client, ids, key or (), target, form, lambda points: progress.advance(bar, points)
        )
    _done(target, form, "point_count", count, "points", json)


def _found(client: Client, experiment: list[str] | None, filter_string: str) -> Iterator[str]:
    for item in client.search_runs(experiment or all_experiments(client), filter_string, summaries_only=True):
        yield item.run_id


def _progress() -> Progress:
    """A counter on stderr, only on a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} points"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _done(target: Path, form: str, name: str, count: int, noun: str, json: bool) -> None:
    size_bytes = target.stat().st_size
    if json:
        output.print_json({"file": str(target), "format": form, name: count, "size_bytes": size_bytes})
    else:
        typer.echo(f"wrote {count:,} {noun} to {target} ({output.bytes_cell(size_bytes)})")

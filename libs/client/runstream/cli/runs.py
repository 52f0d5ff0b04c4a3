"""`runstream runs`: find, look at, compare, delete and restore runs."""

from itertools import islice
from typing import Annotated, Any

import typer
from rich.text import Text

from runstream.cli import output
from runstream.cli.options import Filter, Json, OrderBy, Url, View
from runstream.cli.run_columns import default_columns, run_cell
from runstream.query.client import Client
from runstream.query.results import Run, RunTable

app = typer.Typer(no_args_is_help=True, help="List, show, compare, delete and restore runs.")

MAX_SEARCHED_EXPERIMENTS = 1000

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="32 hexadecimal characters.")]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="32 hexadecimal characters each.")]
Experiments = Annotated[
    list[str] | None,
    typer.Option("--experiment", "-e", help="Id or name; repeatable. Default: every active experiment."),
]


@app.command("list")
def list_runs(
    *,
    experiment: Experiments = None,
    filter_string: Filter = "",
    order_by: OrderBy = None,
    view: View = "active",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 50,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", "-c", help="Column, e.g. metrics.loss, params.lr, tags.team, run_name; repeatable."
        ),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List runs, newest first unless ordered otherwise."""
    with Client(url) as client:
        found = client.search_runs(
            experiment or all_experiments(client),
            filter_string,
            order_by=order_by or (),
            view=view,
            page_size=min(limit, 1000),
        )
        runs = RunTable(islice(found, limit))
    if json:
        output.print_json({"runs": [run.to_dict() for run in runs]})
        return
    columns = column or default_columns(runs)
    output.print_table(columns, [[run_cell(run, name) for name in columns] for run in runs])
    if len(runs) == limit:
        output.hint(f"{limit} runs shown; --limit shows more")


def all_experiments(client: Client) -> list[str]:
    """Ids of the active experiments, newest first."""
    found = client.search_experiments(page_size=MAX_SEARCHED_EXPERIMENTS)
    return [experiment.experiment_id for experiment in islice(found, MAX_SEARCHED_EXPERIMENTS)]


@app.command()
def show(run_id: RunId, *, url: Url = None, json: Json = False) -> None:
    """Show one run with its params, latest metrics, tags, inputs and logged models."""
    with Client(url) as client:
        run = client.get_run(run_id)
    if json:
        output.print_json({"run": run.to_dict()})
        return
    output.print_table(["", ""], _facts(run))
    _section("Params", ["param", "value"], [list(item) for item in run.params.items()])
    points = [[k, p.value, p.step, output.time_cell(p.timestamp)] for k, p in run.latest.items()]
    _section("Metrics", ["metric", "latest", "step", "time"], points)
    _section("Tags", ["tag", "value"], [list(item) for item in run.tags.items()])
    inputs = [[item.name, item.digest, item.source_type, item.source] for item in run.inputs]
    _section("Inputs", ["dataset", "digest", "source type", "source"], inputs)
    models: list[list[Any]] = [["used", model_id, None] for model_id in run.model_inputs]
    models += [["produced", item.model_id, item.step] for item in run.model_outputs]
    _section("Logged models", ["", "model", "step"], models)


def _facts(run: Run) -> list[list[Any]]:
    status = output.status_text(run.status) + Text(f" ({run.status_reason})" if run.status_reason else "")
    facts: list[list[Any]] = [
        ["run", run.run_id],
        ["name", run.run_name],
        ["experiment", run.experiment_id],
        ["status", status],
        ["user", run.user_id or None],
        ["started", output.time_cell(run.start_time)],
        ["duration", output.duration_cell(run.duration_seconds)],
        ["parent run", run.parent_run_id or None],
        ["stage", run.lifecycle_stage],
        ["artifacts", run.artifact_uri or None],
    ]
    return [[Text(name, style="bold"), value] for name, value in facts if value is not None]


def _section(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    if rows:
        output.console.print(f"\n[bold]{title}[/bold]")
        output.print_table(columns, rows)


@app.command()
def compare(
    run_ids: RunIds,
    *,
    only_different: Annotated[
        bool, typer.Option("--only-different", "-d", help="Leave out what is the same in all.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show params and latest metrics of runs side by side; what differs is bold."""
    with Client(url) as client:
        comparison = client.compare_runs(run_ids)
    rows = comparison.rows(only_different=only_different)
    if json:
        facts = [run.facts() for run in comparison.runs]
        output.print_json({"runs": facts, "rows": [row.to_dict() for row in rows]})
        return
    names = [f"{run.run_name}\n{run.run_id[:8]}" for run in comparison.runs]
    output.print_table(
        ["", "key", *names],
        [
            [
                row.kind,
                row.key,
                *(Text(output.cell(v).plain, style="bold" if row.differs else "dim") for v in row.values),
            ]
            for row in rows
        ],
    )


@app.command()
def delete(run_ids: RunIds, *, url: Url = None, json: Json = False) -> None:
    """Mark runs deleted; `restore` brings them back until retention purges them."""
    with Client(url) as client:
        for run_id in run_ids:
            client.delete_run(run_id)
    _done("deleted", run_ids, json)


@app.command()
def restore(run_ids: RunIds, *, url: Url = None, json: Json = False) -> None:
    """Restore deleted runs."""
    with Client(url) as client:
        for run_id in run_ids:
            client.restore_run(run_id)
    _done("restored", run_ids, json)


def _done(what: str, run_ids: list[str], json: bool) -> None:
    if json:
        output.print_json({what: run_ids})
    else:
        typer.echo(f"{what} {len(run_ids)} run{'s' if len(run_ids) > 1 else ''}")

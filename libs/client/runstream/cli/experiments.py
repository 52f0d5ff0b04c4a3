"""`runstream experiments`: the groups that runs belong to."""

from itertools import islice
from typing import Annotated

import typer

from runstream.cli import output
from runstream.cli.options import Filter, Json, OrderBy, Url, View
from runstream.query.client import Client
from runstream.query.results import Experiment

app = typer.Typer(no_args_is_help=True, help="List, create, delete and restore experiments.")

IdOrName = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Id or name.")]


@app.command("list")
def list_experiments(
    *,
    filter_string: Filter = "",
    order_by: OrderBy = None,
    view: View = "active",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 100,
    url: Url = None,
    json: Json = False,
) -> None:
    """List experiments, newest first."""
    with Client(url) as client:
        page_size = min(limit, 1000)
        found = client.search_experiments(
            filter_string, order_by=order_by or (), view=view, page_size=page_size
        )
        experiments = list(islice(found, limit))
    if json:
        output.print_json({"experiments": [experiment.to_dict() for experiment in experiments]})
        return
    output.print_table(
        ["id", "name", "stage", "created", "tags"],
        [
            [e.experiment_id, e.name, e.lifecycle_stage, output.time_cell(e.creation_time), _tags(e)]
            for e in experiments
        ],
    )


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name; unique among active and deleted ones.")],
    *,
    artifact_location: Annotated[
        str, typer.Option(help="Root of the runs' artifacts, an absolute URI.")
    ] = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    get_if_exists: Annotated[
        bool, typer.Option("--get-if-exists", help="Take the one that is there.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Create an experiment and print its id."""
    tags = dict(_key_value(text) for text in tag or ())
    with Client(url) as client:
        experiment = client.create_experiment(
            name, artifact_location=artifact_location, tags=tags, get_if_exists=get_if_exists
        )
    _print_one(experiment, json, "created")


@app.command()
def delete(experiment: IdOrName, *, url: Url = None, json: Json = False) -> None:
    """Mark an experiment and its runs deleted; `restore` brings them back."""
    with Client(url) as client:
        found = client.delete_experiment(experiment)
        _print_one(client.get_experiment(found.experiment_id), json, "deleted")


@app.command()
def restore(experiment: IdOrName, *, url: Url = None, json: Json = False) -> None:
    """Restore an experiment and its runs."""
    with Client(url) as client:
        found = client.restore_experiment(experiment)
        _print_one(client.get_experiment(found.experiment_id), json, "restored")


def _print_one(experiment: Experiment, json: bool, done: str) -> None:
    if json:
        output.print_json({"experiment": experiment.to_dict()})
    else:
        typer.echo(f"{done} experiment {experiment.experiment_id} {experiment.name!r}")


def _tags(experiment: Experiment) -> str | None:
    return ", ".join(f"{key}={value}" for key, value in experiment.tags.items()) or None


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--tag")
    return key, value

"""`runstream models`: registered models and their versions."""

from itertools import islice
from typing import Annotated

import typer

from runstream.cli import models_promotion, output
from runstream.cli.models_views import print_diff, print_lineage, version_facts, version_row
from runstream.cli.options import Filter, Json, OrderBy, Url
from runstream.cli.registry_options import (
    Limit,
    Model,
    Tags,
    Version,
    aliases_text,
    joined,
    key_values,
    print_facts,
)
from runstream.query.client import Client
from runstream.registry.results import ParentVersion

app = typer.Typer(no_args_is_help=True, help="Register, find, compare, promote and roll back models.")

VERSION_COLUMNS = ["version", "stage", "aliases", "status", "run_id", "time", "user", "description"]


@app.command("list")
def list_models(
    *,
    filter_string: Filter = "",
    order_by: OrderBy = None,
    limit: Limit = 100,
    url: Url = None,
    json: Json = False,
) -> None:
    """List registered models by name."""
    with Client(url) as client:
        found = client.models.search(filter_string, order_by=order_by or (), page_size=min(limit, 1000))
        models = list(islice(found, limit))
    if json:
        output.print_json({"models": [model.to_dict() for model in models]})
        return
    rows = [
        [
            m.name,
            m.version_count,
            aliases_text(m.aliases),
            output.time_cell(m.last_updated_time),
            joined(m.tags),
        ]
        for m in models
    ]
    output.print_table(["name", "versions", "aliases", "time", "tags"], rows)


@app.command()
def show(
    name: Model,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Number, @alias or latest.")
    ] = None,
    *,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show a model, or one of its versions."""
    with Client(url) as client:
        if version is not None:
            found = client.models.get_version(name, version)
            if json:
                output.print_json({"version": found.to_dict()})
            else:
                print_facts(version_facts(found))
            return
        model = client.models.get(name)
    if json:
        output.print_json({"model": model.to_dict()})
        return
    print_facts(
        [
            ("model", model.name),
            ("description", model.description),
            ("created", output.time_cell(model.creation_time)),
            ("updated", output.time_cell(model.last_updated_time)),
            ("versions", model.version_count),
            ("promotions", model.promotion_sequence),
            ("aliases", aliases_text(model.aliases)),
            ("tags", joined(model.tags)),
        ]
    )
    if model.latest_versions:
        output.console.print("\n[bold]Latest version of each stage[/bold]")
        output.print_table(VERSION_COLUMNS, [version_row(item) for item in model.latest_versions])


@app.command()
def versions(
    name: Model, *, order_by: OrderBy = None, limit: Limit = 100, url: Url = None, json: Json = False
) -> None:
    """List the versions of a model, newest first."""
    with Client(url) as client:
        client.models.get(name)  # an unknown model is an error, not an empty list
        quoted = name.replace("'", "''")
        order = order_by or ["version_number DESC"]
        found = client.models.search_versions(
            f"name = '{quoted}'", order_by=order, page_size=min(limit, 10_000)
        )
        listed = list(islice(found, limit))
    if json:
        output.print_json({"versions": [item.to_dict() for item in listed]})
        return
    output.print_table(VERSION_COLUMNS, [version_row(item) for item in listed])


@app.command()
def register(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="runs:/RUN_ID/path, models:/NAME/VERSION or a URI of another store."
        ),
    ],
    name: Model,
    *,
    description: Annotated[str, typer.Option(help="Free text of the version.")] = "",
    tag: Tags = None,
    parent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME/VERSION[:RELATION]", help="Version that it was made from; repeatable."),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Make a new version of a model, and the model if there is none."""
    parents = [_parent(text) for text in parent or ()]
    with Client(url) as client:
        made = client.models.create_version(
            name, source, description=description, tags=key_values(tag), parents=parents, create_model=True
        )
    if json:
        output.print_json({"version": made.to_dict()})
    else:
        size = output.bytes_cell(made.artifacts.size_bytes)
        files = output.files_cell(made.artifacts.file_count)
        typer.echo(f"registered {made.name} version {made.version} ({files}, {size})")


def _parent(text: str) -> ParentVersion:
    name, slash, rest = text.rpartition("/")
    number, _, relation = rest.partition(":")
    if not (name and slash and number.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not NAME/VERSION[:RELATION]", param_hint="--parent")
    return ParentVersion(name, int(number), relation)


@app.command()
def diff(
    name: Model,
    before: Version,
    after: Version,
    *,
    other: Annotated[
        str, typer.Option("--other", help="Model of the second version, if it is another.")
    ] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Show what differs between two versions: metrics, params, signature, flavors, tags and files."""
    with Client(url) as client:
        found = client.models.diff(name, before, after, other_name=other)
    if json:
        output.print_json(found.to_dict())
    else:
        print_diff(found)


@app.command()
def lineage(
    name: Model,
    version: Version,
    *,
    depth: Annotated[int, typer.Option(min=1, max=20, help="Generations of versions.")] = 5,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show where a version came from and where it went, as a tree."""
    with Client(url) as client:
        found = client.models.lineage(name, version, depth=depth)
    if json:
        output.print_json(found.to_dict())
    else:
        print_lineage(found)


@app.command()
def rename(name: Model, new_name: Model, *, url: Url = None, json: Json = False) -> None:
    """Give a model another name; versions, aliases and history go along."""
    with Client(url) as client:
        model = client.models.rename(name, new_name)
    if json:
        output.print_json({"model": model.to_dict()})
    else:
        typer.echo(f"renamed {name} to {model.name}")


@app.command()
def tag(
    name: Model,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="Tags to set.")] = None,
    *,
    version: Annotated[str | None, typer.Option("--version", "-v", help="Of this version.")] = None,
    delete_key: Annotated[
        list[str] | None, typer.Option("--delete", "-d", metavar="KEY", help="Tag to delete; repeatable.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Set and delete tags of a model, or of a version."""
    wanted = key_values(tags, "KEY=VALUE")
    with Client(url) as client:
        if wanted:
            client.models.set_tags(name, wanted, version=version)
        if delete_key:
            client.models.delete_tags(name, delete_key, version=version)
    if json:
        output.print_json({"set": wanted, "deleted": delete_key or []})
    else:
        typer.echo(f"set {len(wanted)}, deleted {len(delete_key or [])}")


@app.command()
def delete(
    name: Model,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Only this version.")] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete a model with all its versions, or one version. This cannot be undone."""
    what = f"{name} with all its versions" if version is None else f"{name} version {version}"
    if not (yes or json):
        typer.confirm(f"delete {what}?", abort=True)
    with Client(url) as client:
        if version is None:
            client.models.delete(name)
        else:
            client.models.delete_version(name, version)
    if json:
        output.print_json({"deleted": {"name": name, "version": version}})
    else:
        typer.echo(f"deleted {what}")


@app.command()
def alias(
    name: Model,
    *,
    delete_alias: Annotated[
        str, typer.Option("--delete", "-d", metavar="ALIAS", help="Delete this alias.")
    ] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """List the aliases of a model, or delete one; `promote --alias` sets one."""
    with Client(url) as client:
        if delete_alias:
            client.models.delete_alias(name, delete_alias)
        aliases = client.models.get(name).aliases
    if json:
        output.print_json({"aliases": dict(aliases)})
    else:
        output.print_table(["alias", "version"], [[key, number] for key, number in aliases.items()])


models_promotion.add_to(app)

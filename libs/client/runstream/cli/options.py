"""Options that several commands share."""

from typing import Annotated

import typer

JSON_KEY = "runstream.json"
URL_KEY = "runstream.url"
FILTER_KEY = "runstream.filter"


def _remember(key: str):  # type: ignore[no-untyped-def] # typer reads the callback's own signature
    def callback(context: typer.Context, value: str | None) -> str | None:
        # Errors are reported far from the command; they read there how and about what to speak.
        context.meta[key] = value
        return value

    return callback


def _remember_json(context: typer.Context, value: bool) -> bool:
    context.meta[JSON_KEY] = value
    return value


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="RUNSTREAM_URL",
        metavar="HOST:PORT",
        callback=_remember(URL_KEY),
        help="Address of any service of the deployment. \\[default: localhost:5050]",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", callback=_remember_json, help="Print JSON instead of tables."),
]
Filter = Annotated[
    str,
    typer.Option(
        "--filter",
        "-f",
        metavar="EXPR",
        callback=_remember(FILTER_KEY),
        help="Filter, e.g. \"metrics.loss < 0.1 AND params.optimizer = 'adam'\" (docs/search.md).",
    ),
]
OrderBy = Annotated[
    list[str] | None,
    typer.Option(
        "--order-by", "-o", metavar="FIELD [ASC|DESC]", help="Order, e.g. 'metrics.loss ASC'; repeatable."
    ),
]
View = Annotated[str, typer.Option("--view", help="active, deleted or all.")]

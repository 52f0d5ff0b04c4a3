"""`runstream up` and `runstream down`: the embedded stack."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from runstream.cli.output import fail

MISSING_EXTRA = "the embedded stack is not installed; install it with: pip install 'runstream[embedded]'"

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="RUNSTREAM_DATA_DIR", help="Folder of everything the stack stores."),
]


def up(
    *,
    data_dir: DataDir = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=51, max=65_000, help="The one address for clients; ports after it too.")
    ] = 5050,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help="MLflow's REST API and the web pages; 50 below --port if not given.",
            show_default="5000",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when ready.")
    ] = False,
    kafka: Annotated[
        str | None, typer.Option(help="Kafka bootstrap servers host:port,… instead of the PostgreSQL bus.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL instead of the embedded one.")] = None,
    object_store_url: Annotated[
        str | None, typer.Option(help="S3 instead of the local artifacts folder.")
    ] = None,
) -> None:
    """Start the whole stack on this machine: PostgreSQL, the bus and every service."""
    try:
        from runstream.embedded import options as embedded_options  # noqa: PLC0415 - an extra
        from runstream.embedded import stack  # noqa: PLC0415
        from runstream.embedded.ports import PortTaken  # noqa: PLC0415
        from runstream.embedded.postgres import PostgresError  # noqa: PLC0415
        from runstream.embedded.process import ServiceFailed  # noqa: PLC0415
        from runstream.embedded.state import StackRunning  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise fail(f"{MISSING_EXTRA} ({error})") from error
    choices = embedded_options.StackOptions(
        data_dir=(data_dir or embedded_options.default_data_dir()).absolute(),
        host=host,
        port=port,
        http_port=http_port,
        kafka=kafka,
        database_url=database_url,
        object_store_url=object_store_url,
        log_format="console" if sys.stdout.isatty() else "json",
    )
    try:
        if detach:
            url = stack.start_detached(choices)
            typer.echo(f"ready at {url}; MLflow's API and web UI at http://{host}:{choices.web_port}")
            typer.echo(f"stop it with: runstream down --data-dir {choices.data_dir}")
        else:
            stack.run(choices)
    except (StackRunning, PortTaken, PostgresError, ServiceFailed) as error:
        raise fail(str(error)) from error


def down(*, data_dir: DataDir = None) -> None:
    """Stop the stack of a data directory; its data stays."""
    try:
        from runstream.embedded import options as embedded_options  # noqa: PLC0415 - an extra
        from runstream.embedded import stack  # noqa: PLC0415
        from runstream.embedded.process import ServiceFailed  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise fail(f"{MISSING_EXTRA} ({error})") from error
    folder = (data_dir or embedded_options.default_data_dir()).absolute()
    try:
        stopped = stack.stop(folder)
    except ServiceFailed as error:
        raise fail(str(error)) from error
    typer.echo("stopped" if stopped else f"no stack runs with data in {folder}")

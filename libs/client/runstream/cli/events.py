"""`runstream events`: what happens on the bus, as it happens."""

from typing import Annotated

import typer
from runstream_common.errors import InvalidArgument

from runstream.cli import output
from runstream.cli.events_shape import event_line, event_shape
from runstream.cli.operations import Operations
from runstream.cli.options import Json, Url

app = typer.Typer(no_args_is_help=True, help="Follow or consume the events of a topic.")
groups = typer.Typer(no_args_is_help=True, help="Consumer groups.")
app.add_typer(groups, name="groups")

Topic = Annotated[str, typer.Argument(help="Topic without the deployment's prefix, e.g. model-promoted.")]
Service = Annotated[str, typer.Option(help="Service to ask.")]


@app.callback()
def _group() -> None:
    """Follow or consume the events of a topic."""


@app.command()
def tail(
    topic: Topic,
    *,
    from_beginning: Annotated[
        bool,
        typer.Option(
            "--from-beginning", help="Start with what the bus still holds; a group only when it is new."
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "--max-messages", "-n", min=1, help="Stop after so many events."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", "-g", help="Consume under this durable group: each event once, nothing is missed."
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this for each event, without a shell, e.g. './deploy.sh {model} {version}'. The event is its "
            "standard input; it counts as handled when the command succeeds. Needs --group.",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a command that fails is tried again before a dead letter.")
    ] = 3,
    retry_delay: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Wait before the first retry; it doubles.")
    ] = 1.0,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="Longest time of one try. Default: no limit."),
    ] = None,
    stop_on_failure: Annotated[
        bool,
        typer.Option(
            "--stop-on-failure", help="End instead of giving an event up; it comes again next time."
        ),
    ] = False,
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Print events as they arrive, or handle each with a command, until Ctrl-C."""
    if group is None:
        if command is not None or stop_on_failure:
            raise InvalidArgument.of("--exec", "needs --group, which remembers what was handled")
        _spectate(topic, url, from_beginning=from_beginning, limit=limit, service=service, json=json)
        return
    from runstream.cli.events_group import GroupOptions, consume  # noqa: PLC0415 - plain tails need no asyncio

    consume(
        GroupOptions(
            url=url,
            topic=topic,
            group=group,
            from_beginning=from_beginning,
            service=service,
            command=command,
            retries=retries,
            retry_delay_seconds=retry_delay,
            timeout_seconds=timeout,
            stop_on_failure=stop_on_failure,
            limit=limit,
            json=json,
        )
    )


@groups.command("delete")
def delete_group(
    topic: Topic,
    group: Annotated[str, typer.Argument(help="Consumer group.")],
    *,
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Forget a consumer group that nobody needs any more, with what waits for it."""
    with Operations(url) as operations:
        operations.delete_group(topic, group, service)
    if json:
        output.print_json({"topic": topic, "group": group, "deleted": True})
    else:
        typer.echo(f"deleted group {group} of {topic}")


def _spectate(
    topic: str, url: str | None, *, from_beginning: bool, limit: int | None, service: str, json: bool
) -> None:
    with Operations(url) as operations:
        events = operations.events(topic, from_beginning=from_beginning, service=service)
        for number, event in enumerate(events, 1):
            if json:
                output.print_json_line(event_shape(event))
            else:
                typer.echo(event_line(event))
            if number == limit:
                return

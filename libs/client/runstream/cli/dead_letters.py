"""`runstream dead-letter`: messages that could not be applied, why, and once more or never."""

import base64
from typing import Annotated

import typer
from runstream_common.errors import InvalidArgument

from runstream.cli import output
from runstream.cli.operations import Operations, letter_shape
from runstream.cli.options import Json, Url
from runstream.query.frames import time_of

app = typer.Typer(no_args_is_help=True, help="List, show, replay and discard messages that were refused.")

Topic = Annotated[str, typer.Option("--topic", "-t", help="Topic without the deployment's prefix.")]
Group = Annotated[str, typer.Option("--group", "-g", help="Consumer group.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids as listed.")]
Every = Annotated[bool, typer.Option("--all", help="Every parked message of the group, up to --limit.")]
AtMost = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")]
Service = Annotated[str, typer.Option(help="Service that consumes the topic.")]


@app.command("list")
def list_letters(
    *,
    topic: Topic = "run-logged",
    group: Annotated[str, typer.Option("--group", "-g", help="Consumer group. Default: every group.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 100,
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """List parked messages of a topic, oldest first."""
    with Operations(url) as operations:
        letters = operations.dead_letters(topic, group, limit, service)
    if json:
        output.print_json({"dead_letters": [letter_shape(letter) for letter in letters]})
        return
    if not letters:
        typer.echo(f"no dead letters of {topic}")
        return
    output.print_table(
        ["id", "group", "parked", "key", "reason", "detail"],
        [
            [
                x.id,
                x.group,
                output.time_cell(time_of(x.parked_time_ms)),
                x.key,
                x.reason,
                x.detail.split("\n")[0],
            ]
            for x in letters
        ],
    )


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id as listed.")],
    *,
    topic: Topic = "run-logged",
    group: Group = "metadata",
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one parked message with its headers and value."""
    with Operations(url) as operations:
        letter = operations.dead_letter(topic, group, letter_id, service)
    shape = letter_shape(letter)
    if json:
        output.print_json({"dead_letter": {**shape, "value_base64": base64.b64encode(letter.value).decode()}})
        return
    headers = shape.pop("headers")
    output.print_table(["", ""], [list(item) for item in shape.items()])
    output.print_table(["header", "value"], [list(item) for item in headers.items()])
    typer.echo(f"\nvalue ({output.bytes_cell(len(letter.value))}):\n{_readable(letter.value)}")


def _readable(value: bytes) -> str:
    """JSON and other text as it is, anything else as the beginning of a hex dump."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character.isspace() for character in text):
        return text
    shown = value[:256]
    lines = [shown[start : start + 16].hex(" ") for start in range(0, len(shown), 16)]
    return "\n".join(lines + (["…"] if len(value) > len(shown) else []))


@app.command()
def replay(
    ids: Ids = None,
    *,
    every: Every = False,
    topic: Topic = "run-logged",
    group: Group = "metadata",
    limit: AtMost = 1000,
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Send parked messages to their group once more, after what they missed has been mended."""
    if bool(ids) == every:
        raise InvalidArgument.of("ID", "name the messages to replay, or give --all")
    with Operations(url) as operations:
        count = operations.replay(topic, group, ids or (), limit, service)
    if json:
        output.print_json({"replayed_count": count})
    else:
        typer.echo(f"replayed {count} message{'' if count == 1 else 's'} of {topic} to {group}")


@app.command()
def discard(
    ids: Ids = None,
    *,
    every: Every = False,
    topic: Topic = "run-logged",
    group: Group = "metadata",
    limit: AtMost = 1000,
    service: Service = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Forget parked messages for good: nobody will apply them."""
    if bool(ids) == every:
        raise InvalidArgument.of("ID", "name the messages to discard, or give --all")
    with Operations(url) as operations:
        count = operations.discard(topic, group, ids or (), limit, service)
    if json:
        output.print_json({"discarded_count": count})
    else:
        typer.echo(f"discarded {count} message{'' if count == 1 else 's'} of {topic} for {group}")

"""`runstream events`: what happens on the bus, as it happens."""

import base64
import json as json_module
from typing import Annotated, Any

import typer
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream.cli import output
from runstream.cli.operations import Operations
from runstream.cli.options import Json, Url
from runstream.query.frames import time_of, time_text

app = typer.Typer(no_args_is_help=True, help="Follow the events of a topic.")

MAX_SHOWN_CHARS = 400


@app.callback()
def _group() -> None:
    """Follow the events of a topic."""


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="Topic without the deployment's prefix, e.g. run-changed.")],
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with what the bus still holds.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Stop after so many events.")
    ] = None,
    service: Annotated[str, typer.Option(help="Service to ask.")] = "metadata",
    url: Url = None,
    json: Json = False,
) -> None:
    """Print events as they arrive, until Ctrl-C."""
    with Operations(url) as operations:
        for number, event in enumerate(
            operations.events(topic, from_beginning=from_beginning, service=service), 1
        ):
            if json:
                output.print_json_line(_shape(event))
            else:
                typer.echo(_line(event))
            if number == limit:
                return


def _shape(event: pb.TailEventsResponse) -> dict[str, Any]:
    position = event.position
    return {
        "topic": position.topic,
        "partition": position.partition,
        "offset": position.offset,
        "key": event.key,
        "timestamp": time_text(time_of(event.timestamp_ms)),
        "headers": dict(event.headers),
        "value": json_module.loads(event.json) if event.json else None,
        "value_base64": None if event.json else base64.b64encode(event.value).decode(),
    }


def _line(event: pb.TailEventsResponse) -> str:
    moment = time_of(event.timestamp_ms).astimezone()
    text = " ".join(event.json.split()) if event.json else f"{len(event.value)} bytes"
    shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
    kind = event.headers.get("event-type", "")
    return f"{moment:%H:%M:%S} {event.position.partition}:{event.position.offset} {event.key} {kind} {shown}"

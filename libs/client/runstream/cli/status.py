"""`runstream status`: is it up, and how far behind is it."""

import time

import typer
from rich.text import Text
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream.cli import output
from runstream.cli.operations import STATUS_TIMEOUT_SECONDS, Operations, ServiceState, state_name, state_shape
from runstream.cli.options import Json, Url
from runstream.connection import Connection
from runstream.query.frames import time_of

SHOWN_SCOPES = 5
"""Experiments shown with their watermark; `--json` has all that the service tells."""


def status(*, url: Url = None, json: Json = False) -> None:
    """Show the services, their readiness, lag and watermarks; exit code 1 when a service is not ready."""
    connection = Connection(url)
    with Operations(timeout_seconds=STATUS_TIMEOUT_SECONDS, connection=connection) as operations:
        deployment, states = operations.deployment(), operations.states()
    connection.close()
    if json:
        output.print_json(
            {
                "url": connection.target,
                "version": deployment.version,
                "topology": deployment.topology,
                "ready": all(state.ready for state in states),
                "services": [state_shape(state) for state in states],
            }
        )
    else:
        _print(connection.target, deployment.topology, states)
    if not all(state.ready for state in states):
        raise typer.Exit(output.EXIT_PROBLEM)


def _print(target: str, topology: str, states: list[ServiceState]) -> None:
    output.console.print(f"[bold]{target}[/bold] · {topology}\n")
    output.print_table(
        ["service", "address", "ready", "version", "up for", "problems"],
        [
            [
                state.name,
                state.target,
                Text("yes", style="green") if state.ready else Text("no", style="bold red"),
                state.status.version if state.status else None,
                _uptime(state.status),
                "; ".join(state.problems()) or None,
            ]
            for state in states
        ],
    )
    rows = [
        _subscription_row(state.name, item)
        for state in states
        if state.status
        for item in state.status.subscriptions
    ]
    if rows:
        output.console.print()
        columns = ["service", "topic", "group", "state", "lag", "written up to", "dead letters"]
        output.print_table(columns, rows)
    scopes = [mark for state in states if state.status for mark in state.status.scope_watermarks]
    if scopes:
        output.console.print()
        output.print_table(
            ["written last", "up to"],
            [
                [mark.scope, output.time_cell(time_of(mark.written_up_to_ms))]
                for mark in scopes[:SHOWN_SCOPES]
            ],
        )


def _uptime(status: pb.GetStatusResponse | None) -> str | None:
    if status is None:
        return None
    return output.duration_cell(max(0.0, time.time() - status.start_time_ms / 1000))


def _subscription_row(service: str, item: pb.SubscriptionStatus) -> list[object]:
    newest_ms = max((mark.applied_time_ms for mark in item.watermarks), default=0)
    ago = output.duration_cell(max(0.0, time.time() - newest_ms / 1000)) if newest_ms else None
    state = state_name(item) + (f" ({item.reason})" if item.reason else "")
    style = {"running": "green", "stopped": "bold red", "retrying": "yellow"}.get(state_name(item), "")
    lag = f"{item.lag_messages:,} messages"
    # With nothing waiting, the age of the last message says how idle it is and not how late.
    written = (f"{ago} ago" if item.lag_messages else f"now (last {ago} ago)") if ago else None
    return [service, item.topic, item.group, Text(state, style=style), lag, written, item.dead_letter_count]

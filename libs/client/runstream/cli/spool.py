"""`runstream spool`: what waits on this machine's disk because a server was away."""

from collections.abc import Sequence
from typing import Annotated

import typer

from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.connection import Connection, target_of
from runstream.tracking.replay import Claim, Replay, ReplayReport
from runstream.tracking.settings import Settings
from runstream.tracking.spool import server_dir, writer_dirs
from runstream.tracking.spool_status import RejectedRecord, WaitingFolder, rejected_records, waiting_folders

app = typer.Typer(no_args_is_help=True, help="Show and send what waits on this machine's disk.")


@app.command()
def status(
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="HOST:PORT", help="Only what waits for this server.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what has not been sent yet, and what a server refused for good."""
    spool_dir = Settings.load().spool_dir
    wanted = None if url is None else server_dir(spool_dir, target_of(url)).name
    waiting = [item for item in waiting_folders(spool_dir) if wanted in {None, item.server}]
    rejected = [item for item in rejected_records(spool_dir) if wanted in {None, item.server}]
    if json:
        output.print_json(
            {
                "spool_dir": str(spool_dir),
                "waiting": [item.to_dict() for item in waiting],
                "rejected": [item.to_dict() for item in rejected],
            }
        )
        return
    if not waiting:
        typer.echo(f"nothing waits in {spool_dir}")
    else:
        _print_waiting(waiting)
    if rejected:
        _print_rejected(rejected)


def _print_waiting(waiting: Sequence[WaitingFolder]) -> None:
    output.print_table(
        ["server", "run", "points", "records", "size", "oldest", "writer"],
        [
            [
                item.server,
                item.run_id,
                f"{item.points:,}",
                f"{item.records:,}",
                output.bytes_cell(item.size_bytes),
                output.time_cell(item.oldest),
                "running" if item.writer_alive else "gone",
            ]
            for item in waiting
        ],
    )
    if any(not item.writer_alive for item in waiting):
        output.hint(
            "what processes that are gone left is sent by `runstream spool flush`, or by the next run"
        )


def _print_rejected(rejected: Sequence[RejectedRecord]) -> None:
    output.console.print("\n[bold]Refused for good[/bold]")
    output.print_table(
        ["server", "run", "kind", "points", "reason", "message"],
        [[r.server, r.run_id, r.kind.lower(), f"{r.points:,}", r.reason, r.message] for r in rejected],
    )


@app.command()
def flush(*, url: Url = None, json: Json = False) -> None:
    """Send what waits for a server; exit code 1 when something was refused, 4 when the server is away."""
    spool_dir = Settings.load().spool_dir
    total, busy = ReplayReport(), 0
    with Connection(url) as connection:
        directories = writer_dirs(server_dir(spool_dir, connection.target))
        if directories:
            connection.deployment()
        for directory in directories:
            claim = Claim.acquire(directory)
            if claim is None:
                busy += 1
                continue
            with claim:
                total.add(Replay(connection, claim).run())
            if total.error is not None:
                break
    _tell(total, busy, json)


def _tell(report: ReplayReport, busy: int, json: bool) -> None:
    names = (
        "sent_records",
        "sent_points",
        "rejected_records",
        "rejected_points",
        "unreadable_bytes",
        "reasons",
    )
    if json:
        output.print_json({**{name: getattr(report, name) for name in names}, "busy_folders": busy})
    else:
        typer.echo(f"sent {report.sent_points:,} points and {report.sent_records:,} records")
        if report.unreadable_bytes:
            output.hint(f"{output.bytes_cell(report.unreadable_bytes)} could not be read and were set aside")
        if busy:
            output.hint(f"{busy} folders are being sent by another process")
    if report.error is not None:
        raise report.error
    if report.rejected_records:
        reasons = "; ".join(report.reasons)
        raise output.fail(f"{report.rejected_records} records were refused for good and kept: {reasons}")

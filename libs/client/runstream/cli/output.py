"""What the commands print: tables for people, JSON for programs, one line for an error.

With `--json` one document goes to stdout (streams: one document a line), and errors go to stderr as
`{"error": {"reason", "message", "violations"}}`. Shapes are documented in docs/cli.md and only grow.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

EXIT_PROBLEM = 1
"""Something is wrong, or the work failed."""
EXIT_USAGE = 2
"""The command line or a value in it is wrong, e.g. a filter."""
EXIT_NOT_FOUND = 3
"""What the command names does not exist."""
EXIT_UNREACHABLE = 4
"""The server cannot be reached or is not ready."""
EXIT_REFUSED = 5
"""The state does not allow it, e.g. a name is taken."""
EXIT_GATED = 6
"""A rule of a policy does not let a version be promoted."""

MAX_CELL_CHARS = 200
_WHOLE_COLUMNS = frozenset(
    {"run_id", "run", "id", "address", "status", "started", "duration", "time", "step"}
)
PIPE_WIDTH = 10_000

STATUS_STYLES = {"RUNNING": "cyan", "FINISHED": "green", "FAILED": "red", "KILLED": "yellow"}

console = Console(highlight=False)


def fail(message: str, code: int = EXIT_PROBLEM) -> typer.Exit:
    """Print one line to stderr; the caller raises what is returned."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        Text.assemble(("error: ", "bold red"), message)
    )
    return typer.Exit(code)


def hint(message: str) -> None:
    """Print a line that is not part of the answer, to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(message, style="dim"))


def print_json(document: object) -> None:
    """Print one document on one line, or indented on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False))


def print_json_line(document: object) -> None:
    """Print one document of a stream; it is flushed, since a reader may wait for it."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table; cells are texts, numbers, None or rich texts.

    Cells longer than MAX_CELL_CHARS are cut, `--json` has them whole. When stdout is no terminal, lines are as long as
    they need to be, so that nothing is folded in a pipe.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # What is copied or compared by eye stays on one line; the rest is folded when the terminal is narrow.
        table.add_column(name, overflow="fold", no_wrap=name in _WHOLE_COLUMNS)
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    if sys.stdout.isatty():
        console.print(table)
        return
    wide = Console(highlight=False, width=PIPE_WIDTH, no_color=True)
    with wide.capture() as captured:
        wide.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def cell(value: Any) -> Text:
    """One value as people read it."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    text = str(value)
    return Text(text if len(text) <= MAX_CELL_CHARS else f"{text[: MAX_CELL_CHARS - 1]}…")


def status_text(status: str) -> Text:
    """A run's status in its colour."""
    return Text(status, style=STATUS_STYLES.get(status, ""))


def time_cell(moment: datetime | None) -> str | None:
    """A time in the reader's own zone, to the second."""
    return None if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration_cell(seconds: float | None) -> str | None:
    """A span such as "1 h 04 min" or "12.3 s"."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def bytes_cell(count: int) -> str:
    """A size such as "1.4 MiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def files_cell(count: int) -> str:
    """A number of files such as "1 file"."""
    return f"{count:,} file{'' if count == 1 else 's'}"


def print_json_error(document: object) -> None:
    """Print an error's document to stderr."""
    typer.echo(json.dumps(document, ensure_ascii=False), err=True)

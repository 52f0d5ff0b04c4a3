"""How `runstream import` and `runstream export mlflow` work: progress, state, report. Loads MLflow."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import platformdirs
import typer
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from runstream_common.errors import FailedPrecondition, Unavailable
from sqlalchemy.exc import SQLAlchemyError

from runstream.cli import output
from runstream.migration.counting import count
from runstream.migration.journal import Journal
from runstream.migration.migration import Migration, Scope
from runstream.migration.mlflow_target import MlflowTarget
from runstream.migration.report import KINDS, Report
from runstream.migration.runstream_target import RunstreamTarget
from runstream.migration.source import MlflowSource
from runstream.migration.verification import Verification

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runstream.migration.target import Target

__all__ = ["MlflowSource", "MlflowTarget", "RunstreamTarget", "count_only", "migrate", "scope", "told"]

EXIT_DIFFERENT = 1
"""Exit code when something could not be carried over, or differs."""


@contextmanager
def told() -> Iterator[None]:
    """Tell what MLflow and its database say as errors of ours, in one line.

    Raises:
        FailedPrecondition: MLflow refused, such as a database of another release.
        Unavailable: the database cannot be reached.
    """
    try:
        yield
    except MlflowException as error:
        raise FailedPrecondition(f"MLflow: {error.message}", reason="MLFLOW_REFUSED") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"MLflow's database: {error}") from error


def scope(
    experiments: list[str] | None,
    models: list[str] | None,
    *,
    files: bool,
    registry: bool,
    workers: int,
) -> Scope:
    """What is carried over; see Scope."""
    return Scope(frozenset(experiments or ()), files, registry, workers, frozenset(models or ()))


def count_only(source: MlflowSource, chosen: Scope, *, json: bool) -> None:
    """Print what there is."""
    counts = count(source, chosen)
    if json:
        output.print_json(counts)
    else:
        output.print_table(["kind", "count"], [[kind, f"{number:,}"] for kind, number in counts.items()])


def migrate(source: MlflowSource, target: Target, chosen: Scope, state: Path | None, *, json: bool) -> None:
    """Carry over, compare, and print what came of it.

    Raises:
        typer.Exit: something could not be carried over, or differs.
    """
    report = Report()
    try:
        with _journal(state, source.uri, target.name) as journal, _Display(report):
            Migration(source, target, journal, report, chosen).run()
            report.phase = "verifying"
            Verification(target, journal, report, files=chosen.files).run()
    finally:
        target.close()
    if json:
        output.print_json({**report.to_dict(), "state": str(journal.path)})
    else:
        _print(report, journal)
    if report.problem_count:
        raise typer.Exit(EXIT_DIFFERENT)


def _journal(path: Path | None, source: str, target: str) -> Journal:
    name = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:16]
    default = platformdirs.user_state_path("runstream") / "migrations" / f"{name}.sqlite"
    return Journal(path or default, source, target)


def _print(report: Report, journal: Journal) -> None:
    output.print_table(["kind", "carried over", "done before", "verified"], list(_rows(report)))
    for before, after in report.experiment_ids.items():
        if before != after:
            typer.echo(f"experiment {before} is {after} now")
    for note in report.notes:
        typer.echo(note)
    for problem in report.problems:
        typer.echo(problem, err=True)
    if report.problem_count:
        typer.echo(f"{report.problem_count:,} problems; {journal.path} remembers what is done", err=True)


def _rows(report: Report) -> Iterator[list[str]]:
    for kind in KINDS:
        numbers = (report.carried[kind], report.skipped[kind], report.verified[kind])
        yield [kind, *(f"{number:,}" if number else "" for number in numbers)]


class _Display:
    """A line on stderr that tells how far it is, only on a terminal."""

    def __init__(self, report: Report) -> None:
        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("reading", total=None)
        report.on_change = lambda: self._progress.update(self._task, description=report.line())

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

"""The command `runstream`. Modules of commands are loaded when they are used, so that `--help` is quick.

Shell completion: `runstream --install-completion`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry(NamedTuple):
    """Where a command lives.

    Attributes:
        module: loaded when the command is used.
        attribute: a `typer.Typer` with subcommands, or the command's function.
        help: its line in the list of commands.
    """

    module: str
    attribute: str
    help: str


COMMANDS = {
    "up": Entry("runstream.cli.stack", "up", "Start the whole stack on this machine."),
    "down": Entry("runstream.cli.stack", "down", "Stop the stack of a data directory; its data stays."),
    "status": Entry(
        "runstream.cli.status", "status", "Show the services, their readiness, lag and watermarks."
    ),
    "doctor": Entry("runstream.cli.doctor", "doctor", "Say what is wrong and how to mend it."),
    "experiments": Entry("runstream.cli.experiments", "app", "List, create, delete and restore experiments."),
    "runs": Entry("runstream.cli.runs", "app", "List, show, compare, delete and restore runs."),
    "metrics": Entry("runstream.cli.metrics", "app", "Show, plot and follow metrics."),
    "artifacts": Entry(
        "runstream.cli.artifacts", "app", "List, fetch, store, copy and check files of runs and models."
    ),
    "models": Entry("runstream.cli.models", "app", "Register, find, compare, promote and roll back models."),
    "prompts": Entry("runstream.cli.prompts", "app", "List, show, create, compare and fill prompts."),
    "registry": Entry("runstream.cli.registry", "app", "Policies that gate promotions, and the audit trail."),
    "webhooks": Entry("runstream.cli.webhooks", "app", "Signed HTTP calls on registry events."),
    "events": Entry("runstream.cli.events", "app", "Follow or consume the events of a topic."),
    "dead-letter": Entry(
        "runstream.cli.dead_letters", "app", "List, show and replay messages that were refused."
    ),
    "spool": Entry("runstream.cli.spool", "app", "Show and send what waits on this machine's disk."),
    "import": Entry("runstream.cli.migrate", "app", "Bring an MLflow deployment over."),
    "export": Entry(
        "runstream.cli.export", "app", "Write runs or metric histories to files, or everything to MLflow."
    ),
}


class LazyGroup(TyperGroup):
    """Lists commands from `COMMANDS` and loads the one that is used; tells errors as one line."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """The command by its line of help; it is not loaded to be listed."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        return entry and TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """The loaded command that the arguments name."""
        self.commands = {name: TyperCommand(name) for name in COMMANDS}  # for "did you mean"
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(name or ""), rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command; what went wrong is told in one line and by the exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if not _is_expected(error):
                raise
            from runstream.cli.errors import report  # noqa: PLC0415 - a start without errors need not load it

            raise report(error, ctx.meta) from error


def load(name: str) -> Any:
    """Import a command's module and build the command."""
    entry = COMMANDS[name]
    target: typer.Typer | Callable[..., None] = getattr(import_module(entry.module), entry.attribute)
    if isinstance(target, typer.Typer):
        group = target
    else:
        group = typer.Typer(add_completion=False)
        group.command()(target)
    command = typer.main.get_command(group)
    command.name = name
    return command


def _is_expected(error: Exception) -> bool:
    if isinstance(error, (ImportError, OSError)) and not isinstance(error, BrokenPipeError):
        # A missing extra says what to install; a file that cannot be written names itself.
        return not isinstance(error, ModuleNotFoundError) or "runstream[" in str(error)
    # A platform error exists only when its module was loaded.
    errors = sys.modules.get("runstream_common.errors")
    return errors is not None and isinstance(error, errors.PlatformError)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"runstream {version('runstream')}")
        raise typer.Exit


@app.callback(help="Track training runs at high rate: start the stack, look at runs, follow metrics.")
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Every command is in `COMMANDS`."""


def main() -> None:
    """Run the command line; see docs/cli.md for the exit codes."""
    app(prog_name="runstream")

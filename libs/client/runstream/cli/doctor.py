"""`runstream doctor`: what is wrong, and how to mend it."""

from collections.abc import Iterator
from importlib.metadata import version

import typer
from rich.text import Text
from runstream_common.errors import PlatformError

from runstream.cli import doctor_checks as checks
from runstream.cli import output
from runstream.cli.doctor_checks import Finding
from runstream.cli.operations import STATUS_TIMEOUT_SECONDS, Operations
from runstream.cli.options import Json, Url
from runstream.connection import Connection
from runstream.tracking.settings import Settings

_MARKS = {
    "ok": Text("ok", style="green"),
    "hint": Text("hint", style="dim"),
    "warning": Text("warning", style="yellow"),
    "problem": Text("problem", style="bold red"),
}


def doctor(*, url: Url = None, json: Json = False) -> None:
    """Check the address, the services, lag, clocks, versions and this machine; exit code 1 when something is wrong."""
    with Connection(url) as connection:
        findings = list(_examine(connection))
    problems = sum(finding.level == "problem" for finding in findings)
    if json:
        output.print_json({"healthy": not problems, "findings": [finding.to_dict() for finding in findings]})
    else:
        _print(findings)
    if problems:
        raise typer.Exit(output.EXIT_PROBLEM)


def _examine(connection: Connection) -> Iterator[Finding]:
    address = checks.check_address(connection.target)
    yield address
    if address.level == "ok":
        yield from _examine_deployment(connection)
    yield from checks.check_spool(Settings.load().spool_dir)
    yield from checks.check_extras()


def _examine_deployment(connection: Connection) -> Iterator[Finding]:
    with Operations(timeout_seconds=STATUS_TIMEOUT_SECONDS, connection=connection) as operations:
        try:
            deployment = operations.deployment()
        except PlatformError as error:
            yield checks.not_runstream(connection.target, error)
            return
        names = ", ".join(sorted(deployment.targets)) or "none"
        if not deployment.targets:
            mend = "set RUNSTREAM_SERVICES of the services, e.g. ingest=host:5051,metadata=host:5050"
            yield Finding("discovery", "problem", f"{connection.target} lists no services", mend)
            return
        yield Finding("discovery", "ok", f"{deployment.topology} deployment with {names}")
        states = operations.states()
    yield from checks.check_services(states)
    yield checks.check_versions(version("runstream"), states)
    yield checks.check_clocks(states)
    yield from checks.check_subscriptions(states)


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        line = Text.assemble(_MARKS[finding.level], "  ", (finding.check, "bold"), "  ", finding.detail)
        output.console.print(line, soft_wrap=True)
        if finding.mend:
            output.console.print(Text(f"         → {finding.mend}", style="cyan"), soft_wrap=True)
    typer.echo()
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    typer.echo(" and ".join(told) or "nothing is wrong")

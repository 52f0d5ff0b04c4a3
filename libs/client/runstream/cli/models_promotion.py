"""The commands of `runstream models` that promote, roll back and approve."""

from itertools import islice
from typing import Annotated

import typer

from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.cli.registry_options import (
    Alias,
    DryRun,
    ExpectedCurrent,
    Limit,
    Model,
    Reason,
    Stage,
    Version,
    print_facts,
    print_outcome,
    target_text,
)
from runstream.query.client import Client
from runstream.registry.results_promotions import DecisionOutcome, PromotionRequest

RequestId = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As `models requests` lists it.")]
Role = Annotated[str, typer.Option(help="Role in which you decide. Default: any that you have.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to a group."""
    for command in (promote, rollback, history, request, requests, approve, reject):
        app.command()(command)
    app.command("record-evaluation")(record_evaluation)


def promote(
    name: Model,
    version: Version,
    *,
    alias: Alias = "",
    stage: Stage = "",
    reason: Reason = "",
    expected_current: ExpectedCurrent = None,
    dry_run: DryRun = False,
    archive_existing: Annotated[
        bool, typer.Option("--archive-existing", help="Archive the other versions of the stage.")
    ] = False,
    request_id: Annotated[
        str, typer.Option("--request", help="Approved request that this carries out.")
    ] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Move an alias or stage to a version, if every rule of its policies is met."""
    with Client(url) as client:
        outcome = client.models.promote(
            name,
            version,
            alias=alias,
            stage=stage,
            reason=reason,
            expected_current=expected_current,
            dry_run=dry_run,
            archive_existing=archive_existing,
            request_id=request_id,
        )
    print_outcome(outcome, f"{name} {_target(alias, stage)}", dry_run=dry_run, json=json)


def rollback(
    name: Model,
    *,
    alias: Alias = "",
    stage: Stage = "",
    reason: Reason = "",
    expected_current: ExpectedCurrent = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Promote the version that an alias or stage held before."""
    with Client(url) as client:
        outcome = client.models.rollback(
            name, alias=alias, stage=stage, reason=reason, expected_current=expected_current, dry_run=dry_run
        )
    print_outcome(outcome, f"{name} {_target(alias, stage)}", dry_run=dry_run, json=json)


def _target(alias: str, stage: str) -> str:
    return target_text("alias", alias) if alias else target_text("stage", stage)


def history(
    name: Model,
    *,
    alias: Alias = "",
    stage: Stage = "",
    limit: Limit = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the promotions of a model, newest first."""
    with Client(url) as client:
        found = client.models.promotions(name, alias=alias, stage=stage, page_size=min(limit, 1000))
        made = list(islice(found, limit))
    if json:
        output.print_json({"promotions": [item.to_dict() for item in made]})
        return
    rows = [
        [
            item.sequence,
            output.time_cell(item.time),
            target_text(item.target_kind, item.target),
            item.version,
            item.previous_version or None,
            "rollback" if item.rollback else "promotion",
            item.actor,
            item.reason or None,
        ]
        for item in made
    ]
    output.print_table(["#", "time", "target", "version", "before", "kind", "actor", "reason"], rows)


def request(
    name: Model,
    version: Version,
    *,
    alias: Alias = "",
    stage: Stage = "",
    reason: Reason = "",
    expected_current: ExpectedCurrent = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Ask for approval of a promotion; rules other than approvals must be met."""
    with Client(url) as client:
        made = client.models.request_promotion(
            name, version, alias=alias, stage=stage, reason=reason, expected_current=expected_current
        )
    if json:
        output.print_json({"request": made.to_dict()})
    else:
        typer.echo(f"request {made.request_id}: {made.missing_approvals} approvals missing")


def requests(
    name: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only of this model.")] = "",
    *,
    state: Annotated[str, typer.Option(help="PENDING, APPROVED, EXECUTED, REJECTED or EXPIRED.")] = "",
    limit: Limit = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List requests for approval, newest first."""
    with Client(url) as client:
        found = list(islice(client.models.requests(name, state=state, page_size=min(limit, 1000)), limit))
    if json:
        output.print_json({"requests": [item.to_dict() for item in found]})
        return
    rows = [
        [
            item.request_id,
            item.name,
            item.version,
            target_text(item.target_kind, item.target),
            item.state,
            item.missing_approvals,
            item.actor,
            output.time_cell(item.creation_time),
            item.reason or None,
        ]
        for item in found
    ]
    output.print_table(
        ["id", "model", "version", "target", "state", "missing", "actor", "time", "reason"], rows
    )


def approve(
    request_id: RequestId, *, role: Role = "", comment: Reason = "", url: Url = None, json: Json = False
) -> None:
    """Approve a request; the approval that completes it promotes."""
    with Client(url) as client:
        _print_decision(client.models.approve(request_id, role=role, comment=comment), json)


def reject(
    request_id: RequestId, *, role: Role = "", comment: Reason = "", url: Url = None, json: Json = False
) -> None:
    """Reject a request."""
    with Client(url) as client:
        _print_decision(client.models.reject(request_id, role=role, comment=comment), json)


def record_evaluation(
    name: Model,
    version: Version,
    evaluation: Annotated[str, typer.Argument(metavar="EVALUATION", help="E.g. regression-suite.")],
    *,
    passed: Annotated[bool, typer.Option("--passed/--failed", help="How it went.", show_default=False)],
    summary: Annotated[str, typer.Option(help="What to know about it, in a line.")] = "",
    report: Annotated[str, typer.Option(metavar="URL", help="Where its report is.")] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Record how an evaluation of a version went; rules of policies ask for the last outcome."""
    with Client(url) as client:
        client.models.record_evaluation(name, version, evaluation, passed=passed, summary=summary, url=report)
    if json:
        output.print_json({"evaluation": evaluation, "passed": passed})
    else:
        typer.echo(f"recorded {evaluation} of {name} {version}: {'passed' if passed else 'failed'}")


def _print_decision(outcome: DecisionOutcome, json: bool) -> None:
    if json:
        output.print_json(outcome.to_dict())
        return
    print_facts(_request_facts(outcome.request))
    if outcome.promotion is not None:
        typer.echo(f"promoted: promotion {outcome.promotion.sequence} of {outcome.promotion.name}")


def _request_facts(item: PromotionRequest) -> list[tuple[str, object]]:
    said = [
        f"{d.actor}: {'yes' if d.approved else 'no'}" + (f" ({d.comment})" if d.comment else "")
        for d in item.decisions
    ]
    return [
        ("request", item.request_id),
        ("model", f"{item.name} version {item.version}"),
        ("target", target_text(item.target_kind, item.target)),
        ("state", item.state),
        ("asked by", item.actor),
        ("decisions", ", ".join(said)),
        ("missing approvals", item.missing_approvals or None),
        ("not carried out", item.last_error),
    ]

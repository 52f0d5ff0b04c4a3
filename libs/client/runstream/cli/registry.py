"""`runstream registry`: the policies that gate promotions, and the audit trail."""

from itertools import islice
from json import JSONDecodeError, dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.cli.registry_options import Alias, Limit, Reason, Stage, print_facts
from runstream.query.client import Client
from runstream.query.frames import require

app = typer.Typer(no_args_is_help=True, help="Policies that gate promotions, and the audit trail.")
policies = typer.Typer(no_args_is_help=True, help="Rules that a version must meet to be promoted.")
app.add_typer(policies, name="policies")

PolicyName = Annotated[str, typer.Argument(metavar="POLICY", help="Name of the policy.")]
YAML_SUFFIXES = (".yaml", ".yml")


@app.command("verify-audit")
def verify_audit(
    *,
    chain: Annotated[str, typer.Option(help="Only this chain, e.g. policies. Default: all.")] = "",
    expected_digest: Annotated[
        str,
        typer.Option(
            "--expected-digest", help="Digest that an earlier run printed; another one is a problem."
        ),
    ] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Recompute the audit trail's hash chains; exit code 1 when something does not add up."""
    with Client(url) as client:
        report = client.models.verify_audit(chain=chain)
    moved = bool(expected_digest) and report.heads_digest != expected_digest
    if json:
        output.print_json({**report.to_dict(), "as_expected": not moved})
    else:
        typer.echo(
            f"{report.chain_count} chains, {report.entry_count} entries, {len(report.problems)} problems"
        )
        typer.echo(f"heads_digest {report.heads_digest}")
        if report.problems:
            rows = [[item.chain, item.sequence, item.message] for item in report.problems]
            output.print_table(["chain", "entry", "problem"], rows)
    if moved:
        output.hint(
            f"the digest is not {expected_digest}: entries were added since, or the trail was replaced"
        )
    if report.problems or moved:
        raise typer.Exit(output.EXIT_PROBLEM)


@app.command()
def audit(
    name: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only of this model.")] = "",
    *,
    chain: Annotated[str, typer.Option(help="Only this chain: model/ID, policies or webhooks.")] = "",
    limit: Limit = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List what was changed, when, by whom and why, newest first."""
    with Client(url) as client:
        found = list(islice(client.models.audit(name, chain=chain, page_size=min(limit, 1000)), limit))
    if json:
        entries = [{**item.to_dict(), "before": item.before, "after": item.after} for item in found]
        output.print_json({"entries": entries})
        return
    rows = [
        [
            output.time_cell(item.time),
            item.actor,
            item.action,
            item.subject,
            item.version or None,
            item.reason or None,
            f"{item.chain}#{item.sequence}",
        ]
        for item in found
    ]
    output.print_table(["time", "actor", "action", "subject", "version", "reason", "entry"], rows)


@policies.command("list")
def list_policies(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="Only those that apply to this model.")
    ] = "",
    *,
    alias: Alias = "",
    stage: Stage = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """List the policies in force."""
    with Client(url) as client:
        found = client.models.policies(model, alias=alias, stage=stage)
    if json:
        output.print_json({"policies": [item.to_dict() for item in found]})
        return
    rows = [
        [
            item.name,
            item.revision,
            item.document.get("models"),
            item.document.get("targets"),
            len(item.document.get("rules", ())),
            item.actor,
            output.time_cell(item.time),
        ]
        for item in found
    ]
    output.print_table(["policy", "revision", "models", "targets", "rules", "actor", "time"], rows)


@policies.command()
def show(
    name: PolicyName,
    *,
    revision: Annotated[int, typer.Option(min=0, help="An older revision. Default: the newest.")] = 0,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show a policy; its document is printed as a file that `put` takes."""
    with Client(url) as client:
        found = client.models.get_policy(name, revision=revision)
    if json:
        output.print_json({"policy": found.to_dict()})
        return
    print_facts(
        [
            ("policy", found.name),
            ("revision", found.revision),
            ("stored by", found.actor),
            ("stored", output.time_cell(found.time)),
            ("in force", "no, deleted" if found.deleted else "yes"),
        ]
    )
    typer.echo(dumps(found.document, indent=2, ensure_ascii=False))


@policies.command()
def put(
    name: PolicyName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON, see docs/promotion.md.")],
    *,
    expected_revision: Annotated[
        int | None, typer.Option(min=0, help="Revision in force now, 0 for none. Default: any.")
    ] = None,
    reason: Reason = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Store a policy from a file, as a new revision."""
    document = _document(file)
    with Client(url) as client:
        made = client.models.put_policy(name, document, expected_revision=expected_revision, reason=reason)
    if json:
        output.print_json({"policy": made.to_dict()})
    else:
        typer.echo(f"stored policy {made.name} revision {made.revision}")


@policies.command()
def delete(name: PolicyName, *, reason: Reason = "", url: Url = None, json: Json = False) -> None:
    """Take a policy out of force; its revisions stay readable."""
    with Client(url) as client:
        client.models.delete_policy(name, reason=reason)
    if json:
        output.print_json({"deleted": name})
    else:
        typer.echo(f"deleted policy {name}")


def _document(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    found = _yaml(text) if file.suffix.lower() in YAML_SUFFIXES else _json(text)
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file} holds no object", param_hint="FILE")
    return found


def _yaml(text: str) -> Any:
    yaml = require("yaml", extra="yaml")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"is no YAML: {error}", param_hint="FILE") from error


def _json(text: str) -> Any:
    try:
        return loads(text)
    except JSONDecodeError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint="FILE") from error

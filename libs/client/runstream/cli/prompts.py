"""`runstream prompts`: prompts and their versions."""

import sys
from itertools import islice
from json import JSONDecodeError, dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from runstream.cli import output
from runstream.cli.options import Filter, Json, OrderBy, Url
from runstream.cli.registry_options import Limit, Tags, Version, aliases_text, joined, key_values, print_facts
from runstream.query.client import Client
from runstream.registry.results_prompts import ChatMessage

app = typer.Typer(no_args_is_help=True, help="List, show, create, compare and fill prompts.")

Name = Annotated[str, typer.Argument(metavar="PROMPT", help="Name of the prompt.")]
OptionalVersion = Annotated[str, typer.Argument(metavar="[VERSION]", help="Number, @alias or latest.")]


@app.command("list")
def list_prompts(
    *,
    filter_string: Filter = "",
    order_by: OrderBy = None,
    limit: Limit = 100,
    url: Url = None,
    json: Json = False,
) -> None:
    """List prompts by name."""
    with Client(url) as client:
        found = client.prompts.search(filter_string, order_by=order_by or (), page_size=min(limit, 1000))
        prompts = list(islice(found, limit))
    if json:
        output.print_json({"prompts": [prompt.to_dict() for prompt in prompts]})
        return
    rows = [
        [
            p.name,
            p.latest_version,
            aliases_text(p.aliases),
            output.time_cell(p.last_updated_time),
            joined(p.tags),
        ]
        for p in prompts
    ]
    output.print_table(["name", "version", "aliases", "time", "tags"], rows)


@app.command()
def show(name: Name, version: OptionalVersion = "latest", *, url: Url = None, json: Json = False) -> None:
    """Show a version of a prompt; the newest one unless named."""
    with Client(url) as client:
        found = client.prompts.get(name, version)
    if json:
        output.print_json({"version": found.to_dict()})
        return
    print_facts(
        [
            ("prompt", found.name),
            ("version", found.version),
            ("aliases", joined(found.aliases)),
            ("variables", joined(found.variables)),
            ("message", found.commit_message),
            ("model config", _compact(found.model_config)),
            ("response format", _compact(found.response_format)),
            ("tags", joined(found.tags)),
            ("created", output.time_cell(found.creation_time)),
            ("user", found.user_id),
        ]
    )
    typer.echo("")
    typer.echo(_text(found.template))


@app.command()
def versions(name: Name, *, limit: Limit = 100, url: Url = None, json: Json = False) -> None:
    """List the versions of a prompt, newest first."""
    with Client(url) as client:
        found = list(islice(client.prompts.versions(name, page_size=min(limit, 1000)), limit))
    if json:
        output.print_json({"versions": [item.to_dict() for item in found]})
        return
    rows = [
        [
            v.version,
            joined(v.aliases),
            joined(v.variables),
            output.time_cell(v.creation_time),
            v.user_id,
            v.commit_message,
        ]
        for v in found
    ]
    output.print_table(["version", "aliases", "variables", "time", "user", "message"], rows)


@app.command()
def create(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Text, or a chat as a JSON list of {role, content}; - is stdin."),
    ],
    *,
    chat: Annotated[bool, typer.Option("--chat", help="The file is a chat.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why it was made.")] = "",
    model_config: Annotated[str, typer.Option(metavar="JSON", help="Model and its parameters.")] = "",
    response_format: Annotated[str, typer.Option(metavar="JSON", help="JSON schema of the answer.")] = "",
    tag: Tags = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Create the next version of a prompt, and the prompt if there is none."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    template = _json(text, list, "FILE") if chat else text
    with Client(url) as client:
        made = client.prompts.register(
            name,
            template,
            commit_message=message,
            model_config=_json(model_config, dict, "--model-config") if model_config else None,
            response_format=_json(response_format, dict, "--response-format") if response_format else None,
            tags=key_values(tag),
        )
    if json:
        output.print_json({"version": made.to_dict()})
    else:
        typer.echo(f"created {made.name} version {made.version}")


@app.command()
def diff(name: Name, before: Version, after: Version, *, url: Url = None, json: Json = False) -> None:
    """Show what changed between two versions."""
    with Client(url) as client:
        found = client.prompts.diff(name, before, after)
    if json:
        output.print_json(found.to_dict())
        return
    parts = [found.template_diff, found.model_config_diff, found.response_format_diff]
    shown = [part.rstrip("\n") for part in parts if part]
    for label, names in (("added", found.added_variables), ("removed", found.removed_variables)):
        if names:
            shown.append(f"variables {label}: {', '.join(names)}")
    typer.echo("\n".join(shown) or "no differences")


@app.command()
def render(
    name: Name,
    version: OptionalVersion = "latest",
    *,
    values: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Value of a variable; repeatable.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print a version with its variables filled."""
    with Client(url) as client:
        found = client.prompts.render(name, key_values(values, "--var"), version=version)
    if json:
        output.print_json(found.to_dict())
    else:
        typer.echo(_text(found.content))


def _text(template: str | tuple[ChatMessage, ...]) -> str:
    if isinstance(template, str):
        return template
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in template)


def _compact(value: Any) -> str | None:
    return dumps(value, ensure_ascii=False) if value else None


def _json(text: str, kind: type, hint: str) -> Any:
    try:
        value = loads(text)
    except JSONDecodeError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint=hint) from error
    if not isinstance(value, kind):
        raise typer.BadParameter(f"is no JSON {'list' if kind is list else 'object'}", param_hint=hint)
    return value

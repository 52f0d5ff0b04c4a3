"""`runstream webhooks`: signed HTTP calls on registry events."""

from itertools import islice
from typing import Annotated

import typer

from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.cli.registry_options import Limit, joined, print_facts
from runstream.query.client import Client
from runstream.registry.results_webhooks import Webhook

app = typer.Typer(no_args_is_help=True, help="Signed HTTP calls on registry events.")

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="As `webhooks list` shows it.")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", "-e", metavar="ENTITY.ACTION", help="E.g. PROMOTION.CREATED; repeatable."),
]
Secret = Annotated[
    str,
    typer.Option(
        envvar="RUNSTREAM_WEBHOOK_SECRET",
        help="At most 1,000 characters, better 16 or more; better through the variable than typed.",
    ),
]


@app.command("list")
def list_webhooks(*, limit: Limit = 100, url: Url = None, json: Json = False) -> None:
    """List webhooks, newest first."""
    with Client(url) as client:
        found = list(islice(client.webhooks.list(page_size=min(limit, 1000)), limit))
    if json:
        output.print_json({"webhooks": [item.to_dict() for item in found]})
        return
    rows = [
        [
            w.webhook_id,
            w.name,
            w.status,
            joined(w.events),
            w.models or "*",
            w.url,
            "yes" if w.has_secret else "no",
        ]
        for w in found
    ]
    output.print_table(["id", "name", "status", "events", "models", "address", "signed"], rows)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name; need not be unique.")],
    receiver: Annotated[str, typer.Argument(metavar="URL", help="Where to post.")],
    *,
    event: Events = None,
    description: Annotated[str, typer.Option(help="Free text.")] = "",
    models: Annotated[str, typer.Option(help="Glob over model names. Default: all.")] = "",
    secret: Secret = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not call it yet.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Register a webhook and print its id."""
    with Client(url) as client:
        made = client.webhooks.create(
            name,
            receiver,
            event or [],
            description=description,
            secret=secret,
            status="DISABLED" if disabled else "ACTIVE",
            models=models,
        )
    _print_one(made, json, "created")


@app.command()
def show(webhook_id: WebhookId, *, url: Url = None, json: Json = False) -> None:
    """Show one webhook."""
    with Client(url) as client:
        found = client.webhooks.get(webhook_id)
    if json:
        output.print_json({"webhook": found.to_dict()})
        return
    print_facts(
        [
            ("webhook", found.webhook_id),
            ("name", found.name),
            ("address", found.url),
            ("events", joined(found.events)),
            ("models", found.models or "*"),
            ("status", found.status),
            ("signed", "yes" if found.has_secret else "no"),
            ("description", found.description),
            ("created", output.time_cell(found.creation_time)),
            ("updated", output.time_cell(found.last_updated_time)),
        ]
    )


@app.command()
def update(
    webhook_id: WebhookId,
    *,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    receiver: Annotated[str | None, typer.Option("--address", help="New URL to post to.")] = None,
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="New text.")] = None,
    models: Annotated[str | None, typer.Option(help="New glob over model names.")] = None,
    status: Annotated[str, typer.Option(help="ACTIVE or DISABLED.")] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Change what is given; events replace those that were there."""
    with Client(url) as client:
        changed = client.webhooks.update(
            webhook_id,
            name=name,
            url=receiver,
            events=event or (),
            description=description,
            status=status,
            models=models,
        )
    _print_one(changed, json, "changed")


@app.command()
def delete(webhook_id: WebhookId, *, url: Url = None, json: Json = False) -> None:
    """Delete a webhook; what waits is not delivered."""
    with Client(url) as client:
        client.webhooks.delete(webhook_id)
    if json:
        output.print_json({"deleted": webhook_id})
    else:
        typer.echo(f"deleted webhook {webhook_id}")


@app.command("test")
def send_test(
    webhook_id: WebhookId,
    *,
    event: Annotated[str, typer.Option("--event", "-e", help="Event to pretend. Default: its first.")] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a test event at once; exit code 1 when the receiver does not answer with 2xx."""
    with Client(url) as client:
        answer = client.webhooks.test(webhook_id, event=event)
    if json:
        output.print_json(answer.to_dict())
    else:
        typer.echo(
            f"{answer.response_status or 'no answer'} {answer.error_message or answer.response_body}".rstrip()
        )
    if not answer.success:
        raise typer.Exit(output.EXIT_PROBLEM)


@app.command("rotate-secret")
def rotate_secret(
    webhook_id: WebhookId,
    *,
    secret: Secret = "",
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=168, help="How long the old one signs too, in hours.")
    ] = 24,
    url: Url = None,
    json: Json = False,
) -> None:
    """Give a webhook a new secret and print it, the only time that it is told."""
    with Client(url) as client:
        new = client.webhooks.rotate_secret(webhook_id, secret=secret, overlap_hours=overlap_hours)
    if json:
        output.print_json({"secret": new})
    else:
        typer.echo(new)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    *,
    state: Annotated[str, typer.Option(help="PENDING, DELIVERED or FAILED.")] = "",
    limit: Limit = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List what was and will be sent, newest first."""
    with Client(url) as client:
        log = client.webhooks.deliveries(webhook_id, state=state, page_size=min(limit, 1000))
        found = list(islice(log, limit))
    if json:
        output.print_json({"deliveries": [item.to_dict() for item in found]})
        return
    rows = []
    for item in found:
        last = item.attempts[-1] if item.attempts else None
        answer = None if last is None else last.response_status or last.error_message
        created, following = output.time_cell(item.creation_time), output.time_cell(item.next_attempt_time)
        rows.append(
            [item.delivery_id, item.event, item.state, len(item.attempts), answer, created, following]
        )
    output.print_table(["id", "event", "state", "attempts", "last answer", "time", "next attempt"], rows)


@app.command()
def redeliver(
    delivery_id: Annotated[
        str, typer.Argument(metavar="DELIVERY_ID", help="As `webhooks deliveries` lists it.")
    ],
    *,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a delivery once more."""
    with Client(url) as client:
        client.webhooks.redeliver(delivery_id)
    if json:
        output.print_json({"queued": delivery_id})
    else:
        typer.echo(f"queued {delivery_id}")


def _print_one(webhook: Webhook, json: bool, done: str) -> None:
    if json:
        output.print_json({"webhook": webhook.to_dict()})
    else:
        typer.echo(f"{done} webhook {webhook.webhook_id} {webhook.name!r}")

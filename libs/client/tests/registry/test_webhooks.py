"""Webhooks through the client and the command line, against the real services and a receiver in this process."""

from __future__ import annotations

import base64
import hmac
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from runstream.cli import output
from runstream.query.async_client import AsyncClient
from runstream_common.errors import InvalidArgument, NotFound

from libs.client.tests.registry.conftest import json_of

SECRET = "0123456789abcdef"


@dataclass
class Receiver:
    """What listens: its address, what it answers, and what it was sent."""

    url: str = ""
    status: int = 200
    received: queue.Queue[tuple[dict[str, str], Any]] = field(default_factory=queue.Queue)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on this machine."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.received.put((dict(self.headers), body))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_is_called_signed_for_its_models(client, name, receiver):
    hook = client.webhooks.create(
        "deployer", receiver.url, ["model_version.created"], secret=SECRET, models=f"{name}*"
    )
    assert (hook.events, hook.status, hook.has_secret) == (("MODEL_VERSION.CREATED",), "ACTIVE", True)
    assert "secret" not in json.dumps(hook.to_dict()).replace("has_secret", "")
    client.models.create_version(f"other-{name}", "s3://b/m", create_model=True)
    client.models.create_version(name, "s3://b/m", create_model=True)
    headers, body = receiver.received.get(timeout=30)
    assert (body["data"]["name"], body["data"]["version"]) == (name, "1")
    assert headers["X-MLflow-Signature"].startswith("v1,")
    (delivery,) = client.webhooks.deliveries(hook.webhook_id)
    assert (delivery.delivery_id, delivery.event) == (
        headers["X-MLflow-Delivery-Id"],
        "MODEL_VERSION.CREATED",
    )
    client.webhooks.redeliver(delivery.delivery_id)
    again, _ = receiver.received.get(timeout=30)
    assert again["X-MLflow-Delivery-Id"] == delivery.delivery_id
    client.webhooks.delete(hook.webhook_id)
    with pytest.raises(NotFound):
        client.webhooks.get(hook.webhook_id)


def test_a_test_event_tells_the_receivers_answer(client, receiver):
    hook = client.webhooks.create("tested", receiver.url, ["PROMOTION.CREATED"])
    assert client.webhooks.test(hook.webhook_id).success
    receiver.status = 503
    answer = client.webhooks.test(hook.webhook_id)
    assert (answer.success, answer.response_status) == (False, 503)
    client.webhooks.delete(hook.webhook_id)


def test_a_webhook_is_changed(client, receiver):
    hook = client.webhooks.create("changing", receiver.url, ["PROMOTION.CREATED"], secret=SECRET)
    changed = client.webhooks.update(hook.webhook_id, name="changed", status="disabled", models="a*")
    assert (changed.name, changed.status, changed.models) == ("changed", "DISABLED", "a*")
    assert changed.events == hook.events
    assert client.webhooks.rotate_secret(hook.webhook_id, overlap_hours=1) not in ("", SECRET)
    assert hook.webhook_id in [item.webhook_id for item in client.webhooks.list(page_size=1)]
    client.webhooks.delete(hook.webhook_id)


@pytest.mark.parametrize("event", ["CREATED", "MODEL_VERSION.", ".CREATED", "PLANET.CREATED"])
def test_an_event_that_is_none_is_refused_by_field(client, event):
    with pytest.raises(InvalidArgument) as caught:
        client.webhooks.create("wrong", "http://example.org", [event])
    assert caught.value.violations[0].field.startswith("events[0]")


def test_the_commands(cli, receiver):
    made = cli("webhooks", "create", "cli", receiver.url, "-e", "PROMOTION.CREATED", "--json")
    hook = json.loads(made.stdout)["webhook"]["webhook_id"]
    assert hook in cli("webhooks", "list").stdout
    assert receiver.url in cli("webhooks", "show", hook).stdout
    assert cli("webhooks", "test", hook).stdout.startswith("200")
    receiver.status = 500
    assert cli("webhooks", "test", hook).exit_code == output.EXIT_PROBLEM
    assert cli("webhooks", "update", hook, "--status", "DISABLED").exit_code == 0
    assert len(cli("webhooks", "rotate-secret", hook).stdout.strip()) >= len(SECRET)
    assert cli("webhooks", "deliveries", hook).exit_code == 0
    assert cli("webhooks", "delete", hook).exit_code == 0
    assert cli("webhooks", "show", hook).exit_code == output.EXIT_NOT_FOUND


def test_a_delivery_that_was_refused_is_found_and_sent_again_with_the_new_secret(cli, client, name, receiver):
    made = cli(
        "webhooks", "create", "cli", receiver.url, "-e", "MODEL_VERSION.CREATED", "--models", name, "--json"
    )
    hook = json_of(made)["webhook"]["webhook_id"]
    assert cli("webhooks", "test", hook).exit_code == 0
    receiver.received.get(timeout=30)
    rotated = cli("webhooks", "rotate-secret", hook, "--secret", SECRET, "--overlap-hours", "0")
    assert rotated.stdout.strip() == SECRET
    receiver.status = 404  # final: it is not tried again by itself
    client.models.create_version(name, "s3://b/m", create_model=True)
    refused, _ = receiver.received.get(timeout=30)
    [failed] = wait_for_deliveries(cli, hook, "FAILED")
    assert failed["delivery_id"] == refused["X-MLflow-Delivery-Id"]

    receiver.status = 200
    assert cli("webhooks", "redeliver", failed["delivery_id"]).exit_code == 0
    again, body = receiver.received.get(timeout=30)
    assert again["X-MLflow-Delivery-Id"] == failed["delivery_id"]
    signed = f"{failed['delivery_id']}.{again['X-MLflow-Timestamp']}.{json.dumps(body)}".encode()
    digest = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
    assert again["X-MLflow-Signature"] == f"v1,{digest}"
    [delivered] = wait_for_deliveries(cli, hook, "DELIVERED")
    assert [attempt["response_status"] for attempt in delivered["attempts"]] == [404, 200]


def wait_for_deliveries(cli, hook: str, state: str) -> list[dict[str, Any]]:
    """What the command lists in a state, as soon as there is something."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = json_of(cli("webhooks", "deliveries", hook, "--state", state, "--json"))["deliveries"]
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"no delivery became {state}")


async def test_the_async_client_does_the_same(registry_url, receiver):
    async with AsyncClient(registry_url) as client:
        hook = await client.webhooks.create("async", receiver.url, ["PROMOTION.CREATED"])
        assert (await client.webhooks.test(hook.webhook_id)).success
        assert hook.webhook_id in [item.webhook_id async for item in client.webhooks.list()]
        await client.webhooks.delete(hook.webhook_id)

"""Webhooks: MLflow's endpoints over WebhookService, which delivers with MLflow's headers, signature and bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from mlflow.entities.webhook import VALID_ENTITY_ACTIONS, WebhookEvent
from mlflow.protos import webhooks_pb2 as mlflow_pb
from mlflow.utils.validation import _validate_webhook_events, _validate_webhook_name
from runstream_proto.registry.v1 import webhook_service_pb2 as pb

from runstream_gateway.mlflow_api.checks import array, int_like, required, string
from runstream_gateway.mlflow_api.errors import invalid, missing
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.mlflow_api.registry.calls import RegistryCaller
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow.exceptions import MlflowException
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.registry.refusals import Words

_PREFIX: Final = "/api/2.0/mlflow/webhooks"
_ONE: Final = _PREFIX + "/{webhook_id}"
_MAX_RESULTS: Final = 1_000
_STATUS_NAMES: Final = ("ACTIVE", "ACTIVE", "DISABLED")
_FIELDS: Final = {"description": [string], "secret": [string], "status": [string]}
_EVENTS: Final = frozenset(
    (entity.value.upper(), action.value.upper())
    for entity, actions in VALID_ENTITY_ACTIONS.items()
    for action in actions
)
"""What MLflow's clients can read; the registry has more."""


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = Webhooks(backends)
    return [
        Route("POST", _PREFIX, api.create),
        Route("GET", _PREFIX, api.list),
        Route("GET", _ONE, api.get),
        Route("PATCH", _ONE, api.update),
        Route("DELETE", _ONE, api.delete),
        Route("POST", _ONE + "/test", api.test),
    ]


class Webhooks:
    """Translates between MLflow's messages and the registry."""

    def __init__(self, backends: Backends) -> None:
        self._webhooks = backends.webhooks
        self._call = RegistryCaller(backends.timeout_seconds)

    async def create(self, request: Request) -> Response:
        """Webhooks, POST."""
        asked = await read_message(
            request,
            mlflow_pb.CreateWebhook(),
            {"name": [string, required], "url": [string, required], "events": [array, required], **_FIELDS},
        )
        events = _events(asked.events)
        _validate_webhook_name(asked.name)
        _check_url(asked.url)
        _validate_webhook_events(events)
        message = pb.CreateWebhookRequest(
            name=asked.name,
            url=asked.url,
            events=_event_messages(events),
            description=asked.description,
            secret=asked.secret,
            status=_status(asked.status),
        )
        answer = await self._call(request, self._webhooks.CreateWebhook, message)
        return json_reply({"webhook": webhook_json(answer.webhook)})

    async def list(self, request: Request) -> Response:
        """Webhooks, GET: newest first."""
        asked = await read_message(
            request, mlflow_pb.ListWebhooks(), {"max_results": [int_like], "page_token": [string]}
        )
        if not 0 <= asked.max_results <= _MAX_RESULTS:
            raise invalid(f"max_results must be between 1 and {_MAX_RESULTS}.")
        message = pb.ListWebhooksRequest(page_size=asked.max_results, page_token=asked.page_token)
        answer = await self._call(request, self._webhooks.ListWebhooks, message)
        page: dict[str, object] = {}
        if answer.webhooks:
            page["webhooks"] = [webhook_json(webhook) for webhook in answer.webhooks]
        if answer.next_page_token:
            page["next_page_token"] = answer.next_page_token
        return json_reply(page)

    async def get(self, request: Request) -> Response:
        """webhooks/{webhook_id}, GET."""
        webhook_id = _webhook_id(request)
        message = pb.GetWebhookRequest(webhook_id=webhook_id)
        answer = await self._call(request, self._webhooks.GetWebhook, message, _words(webhook_id))
        return json_reply({"webhook": webhook_json(answer.webhook)})

    async def update(self, request: Request) -> Response:
        """webhooks/{webhook_id}, PATCH: changes what is given; an empty name, URL or list of events is not."""
        asked = await read_message(
            request,
            mlflow_pb.UpdateWebhook(),
            {"name": [string], "url": [string], "events": [array], **_FIELDS},
        )
        webhook_id = _webhook_id(request)
        events = _events(asked.events)
        if asked.name:
            _validate_webhook_name(asked.name)
        if asked.url:
            _check_url(asked.url)
        message = pb.UpdateWebhookRequest(
            webhook_id=webhook_id,
            name=asked.name or None,
            url=asked.url or None,
            events=_event_messages(events),
            description=asked.description if asked.HasField("description") else None,
            secret=asked.secret if asked.HasField("secret") else None,
            status=_status(asked.status) if asked.HasField("status") else pb.WEBHOOK_STATUS_UNSPECIFIED,
        )
        answer = await self._call(request, self._webhooks.UpdateWebhook, message, _words(webhook_id))
        return json_reply({"webhook": webhook_json(answer.webhook)})

    async def delete(self, request: Request) -> Response:
        """webhooks/{webhook_id}, DELETE."""
        webhook_id = _webhook_id(request)
        message = pb.DeleteWebhookRequest(webhook_id=webhook_id)
        await self._call(request, self._webhooks.DeleteWebhook, message, _words(webhook_id))
        return json_reply({})

    async def test(self, request: Request) -> Response:
        """webhooks/{webhook_id}/test: sends an example at once."""
        asked = await read_message(request, mlflow_pb.TestWebhook(), {})
        webhook_id = _webhook_id(request)
        events = _events([asked.event] if asked.HasField("event") else [])
        message = pb.TestWebhookRequest(
            webhook_id=webhook_id, event=_event_messages(events)[0] if events else None
        )
        answer = await self._call(request, self._webhooks.TestWebhook, message, _words(webhook_id))
        return json_reply({"result": result_json(answer)})


def _webhook_id(request: Request) -> str:
    """The id in the path.

    Raises:
        MlflowException: 404 for one that no webhook can have.
    """
    webhook_id: str = request.path_params["webhook_id"]
    try:
        return str(UUID(webhook_id))
    except ValueError as error:
        raise _webhook_missing(webhook_id) from error


def _webhook_missing(webhook_id: str) -> MlflowException:
    return missing(f"Webhook with ID {webhook_id} not found.")


def _words(webhook_id: str) -> Words:
    return {"WEBHOOK_NOT_FOUND": lambda _: _webhook_missing(webhook_id)}


def _check_url(url: str) -> None:
    """Refuse what the registry would too, in MLflow's words; whether it leads to a public host only that can tell.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    if not url.strip():
        raise invalid(f"Webhook URL cannot be empty or just whitespace: {url!r}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise invalid(f"Invalid webhook URL {url!r}: {error!r}") from error
    if parts.scheme not in ("https", "http"):
        raise invalid(f"Invalid webhook URL scheme: {parts.scheme!r}. Allowed schemes are: https.")
    if not parts.hostname:
        raise invalid(f"Webhook URL must include a hostname: {url!r}")


def _events(messages: Iterable[mlflow_pb.WebhookEvent]) -> list[WebhookEvent]:
    """The events that are asked for.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE for one that there is none of.
    """
    found = []
    for message in messages:
        try:
            found.append(WebhookEvent.from_proto(message))
        except ValueError as error:
            # MLflow answers 500 to an event without entity or action.
            raise invalid(f"Invalid webhook event: {error}") from error
    return found


def _event_messages(events: Iterable[WebhookEvent]) -> list[pb.WebhookEvent]:
    return [
        pb.WebhookEvent(entity=event.entity.value.upper(), action=event.action.value.upper())
        for event in events
    ]


def _status(status: mlflow_pb.WebhookStatus.ValueType) -> pb.WebhookStatus.ValueType:
    return pb.WebhookStatus.Value(f"WEBHOOK_STATUS_{mlflow_pb.WebhookStatus.Name(status)}")


def webhook_json(webhook: pb.Webhook) -> dict[str, Any]:
    """MLflow's Webhook, without the events that MLflow has no words for."""
    answer: dict[str, Any] = {
        "webhook_id": webhook.webhook_id,
        "name": webhook.name,
        "url": webhook.url,
        "events": [
            {"entity": event.entity, "action": event.action}
            for event in webhook.events
            if (event.entity, event.action) in _EVENTS
        ],
        "status": _STATUS_NAMES[webhook.status],
        "creation_timestamp": webhook.creation_time_ms,
        "last_updated_timestamp": webhook.last_updated_time_ms,
    }
    if webhook.description:
        answer["description"] = webhook.description
    return answer


def result_json(result: pb.TestWebhookResponse) -> dict[str, Any]:
    """MLflow's WebhookTestResult."""
    answer: dict[str, Any] = {"success": result.success}
    if result.response_status:
        answer |= {"response_status": result.response_status, "response_body": result.response_body}
    else:
        answer["error_message"] = f"Failed to test webhook: {result.error_message}"
    return answer

"""Channels between services: keepalive, message limits, spreading over replicas, retries of safe calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_common.settings import GrpcSettings

HEADROOM_BYTES = 64 * 1024
"""What a message may exceed the payload limit by: its envelope."""


def open_channel(target: str, settings: GrpcSettings, *, idempotent: Iterable[str] = ()) -> grpc.aio.Channel:
    """A channel to a service; connects when first used and whenever the connection is lost.

    Args:
        target: ``host:port``, or any gRPC target; every address that a name has is used in turn.
        settings: keepalive and message limit.
        idempotent: full names of the services or methods that may be sent again when the server was
            not reached, such as ``runstream.metadata.v1.RunService`` or
            ``runstream.metadata.v1.RunService/GetRun``.
    """
    return grpc.aio.insecure_channel(target, options=channel_options(settings, idempotent))


def channel_options(settings: GrpcSettings, idempotent: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """The gRPC channel arguments behind ``open_channel``."""
    limit = settings.grpc_max_message_bytes + HEADROOM_BYTES
    return [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_seconds * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A restarted server is found again within a second instead of the default's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_service_config(idempotent))),
    ]


def _service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    names = [_config_name(name) for name in idempotent]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY_POLICY}]
    return config


_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def _config_name(name: str) -> dict[str, str]:
    service, _, method = name.strip("/").partition("/")
    return {"service": service, "method": method} if method else {"service": service}

"""One address to every service: the URL, its discovery, and the channels.

The user gives one address. Any service of a deployment answers there and lists the others; a listed address without
a host means the host that the user gave (the embedded stack, port-forwarding).
"""

from __future__ import annotations

import ctypes
import getpass
import json
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

import grpc
from runstream_common.errors import InvalidArgument, Unavailable
from runstream_common.rpc.actor import ACTOR_KEY, encode_actor
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1.discovery_service_pb2_grpc import DiscoveryServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Stub = TypeVar("_Stub")

URL_VARIABLE = "RUNSTREAM_URL"
ACTOR_VARIABLE = "RUNSTREAM_ACTOR"
DEFAULT_URL = "localhost:5050"
DEFAULT_PORT = 5050
DISCOVERY_TIMEOUT_SECONDS = 5.0

_SCHEMES = ("grpc://", "http://", "runstream://")
# Room for the envelope around a payload of the largest allowed size.
_HEADROOM_BYTES = 64 * 1024
# Only calls that change nothing, or nothing the second time, are repeated; `wait_for_ready` is not used, so that an
# unreachable server is reported within a second or two and not after the whole deadline.
_RETRIED = (
    ("runstream.common.v1.DiscoveryService", None),
    ("runstream.metadata.v1.MetricService", None),
    ("runstream.metadata.v1.RunService", "GetRun"),
    ("runstream.metadata.v1.RunService", "GetRuns"),
    ("runstream.metadata.v1.RunService", "SearchRuns"),
    ("runstream.metadata.v1.ExperimentService", "GetExperiment"),
    ("runstream.metadata.v1.ExperimentService", "SearchExperiments"),
    *(
        ("runstream.artifact.v1.ArtifactService", method)
        for method in (
            "CreateUploads",
            "SignParts",
            "GetUpload",
            "CompleteUploads",
            "AbortUpload",
            "ListArtifacts",
            "GetArtifact",
            "CreateDownloads",
            "CopyArtifacts",
            "GetTree",
            "VerifyArtifacts",
        )
    ),
    ("runstream.registry.v1.ModelService", "GetModel"),
    ("runstream.registry.v1.ModelService", "SearchModels"),
    # The client chooses the version's id, so that the second try finds what the first one made.
    ("runstream.registry.v1.ModelService", "CreateVersion"),
    ("runstream.registry.v1.ModelService", "GetVersion"),
    ("runstream.registry.v1.ModelService", "SearchVersions"),
    ("runstream.registry.v1.ModelService", "GetLatestVersions"),
    ("runstream.registry.v1.ModelService", "ResolveVersion"),
    ("runstream.registry.v1.ModelService", "GetLineage"),
    ("runstream.registry.v1.PromotionService", "ListPromotions"),
    ("runstream.registry.v1.PromotionService", "GetPolicy"),
    ("runstream.registry.v1.PromotionService", "ListPolicies"),
    ("runstream.registry.v1.PromotionService", "GetRequest"),
    ("runstream.registry.v1.PromotionService", "ListRequests"),
    ("runstream.registry.v1.PromotionService", "ListAuditEntries"),
    ("runstream.registry.v1.PromptService", "GetPromptVersion"),
    ("runstream.registry.v1.PromptService", "SearchPrompts"),
    ("runstream.registry.v1.PromptService", "ListPromptVersions"),
    ("runstream.registry.v1.PromptService", "DiffPromptVersions"),
    ("runstream.registry.v1.PromptService", "RenderPrompt"),
    ("runstream.registry.v1.PromptService", "LinkPromptVersion"),
    ("runstream.registry.v1.PromptService", "ListPromptLinks"),
    ("runstream.registry.v1.WebhookService", "GetWebhook"),
    ("runstream.registry.v1.WebhookService", "ListWebhooks"),
    ("runstream.registry.v1.WebhookService", "ListDeliveries"),
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What discovery answered.

    Attributes:
        targets: gRPC target of each service by name, as this client reaches it.
        version: version of the service that answered.
        topology: "embedded" or "kafka".
    """

    targets: Mapping[str, str]
    version: str
    topology: str

    def target(self, service: str) -> str:
        """Address of a service.

        Raises:
            Unavailable: the deployment does not have it.
        """
        try:
            return self.targets[service]
        except KeyError:
            known = ", ".join(sorted(self.targets)) or "none"
            raise Unavailable(
                f"this deployment lists no {service} service (it lists: {known}); check RUNSTREAM_SERVICES of its services",
                reason="SERVICE_NOT_LISTED",
            ) from None


def target_of(url: str | None = None) -> str:
    """Turn what the user gave into "host:port".

    Args:
        url: "host:port", "host" or the same with grpc:// or http:// before it; None reads RUNSTREAM_URL and falls
            back to localhost:5050.

    Raises:
        InvalidArgument: it is no such address.
    """
    given = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    text = given.strip().rstrip("/")
    for scheme in _SCHEMES:
        text = text.removeprefix(scheme)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not host or "/" in host or not port.isdigit():
        raise InvalidArgument.of("url", f"{given!r} is no address; give host:port, such as {DEFAULT_URL}")
    return f"{host}:{port}"


def actor_name() -> str:
    """Who makes the calls of this process: RUNSTREAM_ACTOR, or else the user that the system names; may be empty."""
    given = os.environ.get(ACTOR_VARIABLE, "").strip()
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return ""


def call_metadata() -> tuple[tuple[str, str], ...]:
    """What every call says of itself: who makes it, which the registry's audit trail records."""
    name = encode_actor(actor_name())
    return ((ACTOR_KEY, name),) if name else ()


def deployment_of(answer: discovery_pb.ListServicesResponse, target: str) -> Deployment:
    """Read a discovery answer that came from `target`."""
    host = target.rpartition(":")[0]
    targets = {s.name: f"{host}{s.target}" if s.target.startswith(":") else s.target for s in answer.services}
    return Deployment(targets, answer.version, answer.topology)


def channel_options() -> list[tuple[str, Any]]:
    """The gRPC options of every channel of the SDK, sync and async."""
    retried = [{"service": s, "method": m} if m else {"service": s} for s, m in _RETRIED]
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES * 2 + _HEADROOM_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + _HEADROOM_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A restarted server is found again within a second instead of the default's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.service_config", json.dumps({"methodConfig": [{"name": retried, "retryPolicy": policy}]})),
    ]


class Connection:
    """Channels to the services behind one address; thread-safe. Nothing is opened before the first use.

    Args:
        url: see `target_of`.
    """

    def __init__(self, url: str | None = None) -> None:
        self.target = target_of(url)
        self._lock = threading.RLock()
        self._channels: dict[str, grpc.Channel] = {}
        self._deployment: Deployment | None = None
        _connections.add(self)

    def deployment(self, *, timeout_seconds: float = DISCOVERY_TIMEOUT_SECONDS) -> Deployment:
        """Ask once what services there are; later calls answer from memory.

        Raises:
            PlatformError: the address cannot be reached, or answers with an error.
        """
        if self._deployment is None:
            stub = DiscoveryServiceStub(self.to_target(self.target))
            try:
                answer = stub.ListServices(discovery_pb.ListServicesRequest(), timeout=timeout_seconds)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error
            self._deployment = deployment_of(answer, self.target)
        return self._deployment

    def channel(self, service: str) -> grpc.Channel:
        """The channel to a service by name, such as "metadata"."""
        return self.to_target(self.deployment().target(service))

    def stub(self, stub_class: Callable[[grpc.Channel], _Stub], service: str | None = None) -> _Stub:
        """A generated stub on the channel of its service.

        Args:
            stub_class: such as `RunServiceStub`.
            service: service name; None takes the one whose package the stub is of, "metadata" for
                runstream.metadata.v1. Stubs of runstream.common.v1 go to the address itself.

        Raises:
            PlatformError: discovery failed, or the deployment lacks the service.
        """
        name = service or stub_class.__module__.split(".")[1]
        return stub_class(self.to_target(self.target) if name == "common" else self.channel(name))

    def to_target(self, target: str) -> grpc.Channel:
        """The channel to an address; the same address shares one channel."""
        global _grpc_was_used  # noqa: PLW0603 - a fact about the process
        _grpc_was_used = True
        with self._lock:
            channel = self._channels.get(target)
            if channel is None:
                channel = grpc.insecure_channel(target, options=channel_options())
                self._channels[target] = channel
            return channel

    def close(self) -> None:
        """Close every channel; calls under way end with CANCELLED."""
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: its copies of the parent's channels are unusable, even to close."""
        for channel in self._channels.values():
            # Never freed: gRPC's destructors may wait for threads that exist in the parent only.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(channel))
        self._lock = threading.RLock()
        self._channels = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


_connections: WeakSet[Connection] = WeakSet()
_grpc_was_used = False


def grpc_was_used() -> bool:
    """Whether this process, or the one it was forked from, has opened a channel of ours."""
    return _grpc_was_used


def _after_fork_in_child() -> None:
    for connection in list(_connections):
        connection.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""The services of the embedded stack: how each is started and what it is told."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass

from runstream.embedded.options import ADMIN_PORT_DISTANCE, HTTP_PORT_DISTANCE, StackOptions
from runstream.embedded.ports import is_free

PORTS_TO_PICK_FROM = range(15_000, 32_000)
"""Below the ports that systems give to outgoing connections (from 32768 or 49152), one of which could come between."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service process.

    Attributes:
        name: short name for log lines and messages.
        module: run as `python -m module`.
        port: gRPC port.
        admin_port: port of /healthz, /readyz and /metrics.
        environment: settings it gets on top of the supervisor's own environment.
        data_port: HTTP port where it serves files or the API; None for services that serve none.
    """

    name: str
    module: str
    port: int
    admin_port: int
    environment: Mapping[str, str]
    data_port: int | None = None


GATEWAY = "gateway"
"""Speaks HTTP alone, so clients of gRPC are not told of it."""

SERVICE_MODULES = {
    "metadata": "runstream_metadata",
    "ingest": "runstream_ingest",
    "artifact": "runstream_artifact",
    "registry": "runstream_registry",
    GATEWAY: "runstream_gateway",
}
"""Services in start order with their modules. The first one has the stack's main port."""

DATA_PORT_DISTANCE = 20
"""From the artifact service's gRPC port to the HTTP port where it serves files of a local folder."""


def _data_port(port: int) -> int:
    return port + list(SERVICE_MODULES).index("artifact") + DATA_PORT_DISTANCE


def stack_ports(port: int) -> list[int]:
    """Every port that a stack listens on when `port` is its main one."""
    ports = [port + index for index in range(len(SERVICE_MODULES))]
    return [
        *ports,
        *(number + ADMIN_PORT_DISTANCE for number in ports),
        _data_port(port),
        port - HTTP_PORT_DISTANCE,
    ]


def free_stack_port(host: str = "127.0.0.1") -> int:
    """A main port with which every port of a stack was free a moment ago."""
    while True:
        port = random.choice(PORTS_TO_PICK_FROM)  # noqa: S311 - any will do
        if all(is_free(host, number) for number in stack_ports(port)):
            return port


def service_specs(options: StackOptions, database_url: str) -> list[ServiceSpec]:
    """Specs of all services.

    Args:
        options: the stack's choices.
        database_url: PostgreSQL of this stack, embedded or given.
    """
    ports = {name: options.port + index for index, name in enumerate(SERVICE_MODULES)}
    shared = {
        # An empty host tells clients to use the host that they reached us by.
        "RUNSTREAM_SERVICES": ",".join(f"{name}=:{port}" for name, port in ports.items() if name != GATEWAY),
        "RUNSTREAM_METADATA_TARGET": f"{options.host}:{ports['metadata']}",
        "RUNSTREAM_ARTIFACT_TARGET": f"{options.host}:{ports['artifact']}",
        "RUNSTREAM_INGEST_TARGET": f"{options.host}:{ports['ingest']}",
        "RUNSTREAM_REGISTRY_TARGET": f"{options.host}:{ports['registry']}",
        "RUNSTREAM_HTTP_HOST": options.host,
        "RUNSTREAM_HTTP_PORT": str(options.web_port),
        "RUNSTREAM_ARTIFACT_HTTP_HOST": options.host,
        "RUNSTREAM_ARTIFACT_HTTP_PORT": str(_data_port(options.port)),
        "RUNSTREAM_BUS_URL": f"kafka://{options.kafka.removeprefix('kafka://')}"
        if options.kafka
        else database_url,
        "RUNSTREAM_DATABASE_URL": database_url,
        "RUNSTREAM_OBJECT_STORE_URL": options.object_store_url or f"file://{options.data_dir / 'artifacts'}",
        "RUNSTREAM_MIGRATE_ON_START": "true",
        "RUNSTREAM_GRPC_HOST": options.host,
        "RUNSTREAM_ADMIN_HOST": options.host,
        "RUNSTREAM_LOG_FORMAT": os.environ.get("RUNSTREAM_LOG_FORMAT", options.log_format),
    }
    return [
        ServiceSpec(
            name,
            module,
            ports[name],
            ports[name] + ADMIN_PORT_DISTANCE,
            {
                **shared,
                "RUNSTREAM_GRPC_PORT": str(ports[name]),
                "RUNSTREAM_ADMIN_PORT": str(ports[name] + ADMIN_PORT_DISTANCE),
            },
            {"artifact": _data_port(options.port), GATEWAY: options.web_port}.get(name),
        )
        for name, module in SERVICE_MODULES.items()
    ]

"""The real services as processes over a given database and bus, to kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import grpc
import psutil

from deploy.local.process import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READY_SECONDS = 60.0
"""Longest start on a loaded machine; a passing test never waits that long."""

_POLL_SECONDS = 0.05
_LOG_LINES = 40

# Merging removes repeats, which would hide a batch that was stored twice; lag is of no use to a test that waits.
_QUIET_JOBS = {"RUNSTREAM_MERGE_INTERVAL_SECONDS": "86400"}


class ServiceNotReadyError(RuntimeError):
    """A service ended while it started, or did not become ready; the text ends with its log."""


class Service:
    """One service as a process. Its ports stay the same over restarts.

    Args:
        name: ``ingest``, ``metadata``, ``artifact``, ``registry`` or ``gateway``.
        label: names the log file; unlike ``name`` it is unique among replicas.
        directory: where the log goes.
        environment: its settings, on top of the test's own environment; read at each start.
    """

    def __init__(self, name: str, label: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self.admin_port = free_port()
        self.http_port = free_port()
        self.log_path = directory / f"{label}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """``host:port`` of its gRPC server."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Address of its HTTP API; only a gateway has one."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """Process id of the running process."""
        return self._running().pid

    def spawn(self) -> None:
        """Start the process without waiting until it is ready."""
        environment = {
            **os.environ,
            **self._environment,
            "RUNSTREAM_GRPC_HOST": "127.0.0.1",
            "RUNSTREAM_ADMIN_HOST": "127.0.0.1",
            "RUNSTREAM_GRPC_PORT": str(self.port),
            "RUNSTREAM_ADMIN_PORT": str(self.admin_port),
            "RUNSTREAM_HTTP_HOST": "127.0.0.1",
            "RUNSTREAM_HTTP_PORT": str(self.http_port),
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"runstream_{self.name}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the process and block until it is ready."""
        self.spawn()
        self.wait_ready()

    def is_ready(self) -> bool:
        """Whether /readyz says so now."""
        url = f"http://127.0.0.1:{self.admin_port}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # urllib's own errors are of this kind too
            return False

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Block until /readyz says so. Raises ServiceNotReadyError when the process ends or the time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            if self._running().poll() is not None or time.monotonic() > deadline:
                raise ServiceNotReadyError(f"{self.name} is not ready\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End the process with SIGKILL and wait until it is gone."""
        self._running().kill()
        self._running().wait()

    def terminate(self, timeout_seconds: float) -> int:
        """Ask the process to end; returns its exit code. Raises TimeoutExpired when it takes longer."""
        self._running().send_signal(signal.SIGTERM)
        return self._running().wait(timeout_seconds)

    def stop(self) -> None:
        """End the process, kindly first. Not running is no error."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.terminate(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def exit_code(self) -> int | None:
        """The exit code of a process that ended; None while it runs."""
        return self._running().poll()

    def resident_bytes(self) -> int:
        """Memory that the process has now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def metric(self, name: str) -> float:
        """Value of a Prometheus sample, labels included in the name; 0 when there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process


class ServiceStack:
    """The services over one database, one bus and one object store.

    Args:
        directory: for logs, and for files where no object store is given.
        database_url: an empty database.
        bus_url: ``kafka://…`` or a PostgreSQL URL.
        topic_prefix: keeps deployments on one cluster apart.
        settings: further RUNSTREAM_ settings of all services.
        names: the services that ``start`` starts, in this order.
        object_store_url: ``s3://…``; empty means a folder.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        bus_url: str,
        topic_prefix: str = "",
        settings: Mapping[str, str] | None = None,
        names: Sequence[str] = ("metadata", "ingest"),
        object_store_url: str = "",
    ) -> None:
        self.database_url = database_url
        self.bus_url = bus_url
        self.topic_prefix = topic_prefix
        self._directory = directory
        self._environment = {
            **_QUIET_JOBS,
            "RUNSTREAM_DATABASE_URL": database_url,
            "RUNSTREAM_BUS_URL": bus_url,
            "RUNSTREAM_TOPIC_PREFIX": topic_prefix,
            "RUNSTREAM_MIGRATE_ON_START": "true",
            "RUNSTREAM_KAFKA_PARTITIONS": "4",
            "RUNSTREAM_LOG_FORMAT": "json",
            "RUNSTREAM_OBJECT_STORE_URL": object_store_url or f"file://{directory / 'objects'}",
            "RUNSTREAM_ARTIFACT_HTTP_HOST": "127.0.0.1",
            "RUNSTREAM_ARTIFACT_HTTP_PORT": str(free_port()),
            **(settings or {}),
        }
        self.metadata = self._service("metadata")
        self.ingest = self._service("ingest")
        self.artifact = self._service("artifact")
        self.registry = self._service("registry")
        self.gateway = self._service("gateway")
        self.replicas: list[Service] = []
        known = {service.name: service for service in self._all()}
        self.services = [known[name] for name in names]
        self._environment.update(
            {
                "RUNSTREAM_SERVICES": ",".join(
                    f"{s.name}={s.target}" for s in self.services if s is not self.gateway
                ),
                "RUNSTREAM_METADATA_TARGET": self.metadata.target,
                "RUNSTREAM_ARTIFACT_TARGET": self.artifact.target,
                "RUNSTREAM_INGEST_TARGET": self.ingest.target,
                "RUNSTREAM_REGISTRY_TARGET": self.registry.target,
            }
        )

    @property
    def is_kafka(self) -> bool:
        """Whether the bus is Kafka."""
        return self.bus_url.startswith("kafka")

    def start(self) -> None:
        """Start the services and block until they are ready."""
        for service in self.services:
            service.spawn()
        for service in self.services:
            service.wait_ready()

    def new_metadata_replica(self) -> Service:
        """Another metadata service of the same group, not yet started."""
        replica = self._service("metadata", f"metadata-{len(self.replicas) + 2}")
        self.replicas.append(replica)
        return replica

    def new_registry_replica(self) -> Service:
        """Another registry over the same database, not yet started."""
        replica = self._service("registry", f"registry-{len(self.replicas) + 2}")
        self.replicas.append(replica)
        return replica

    def new_gateway_replica(self) -> Service:
        """Another gateway before the same services, not yet started."""
        replica = self._service("gateway", f"gateway-{len(self.replicas) + 2}")
        self.replicas.append(replica)
        return replica

    def recover(self) -> None:
        """Start whichever service is down, and block until all are ready."""
        for service in self.services:
            if service.exit_code() is not None:
                service.spawn()
        for service in self.services:
            service.wait_ready()

    def stop(self) -> None:
        """End every process."""
        for service in (*self.replicas, *reversed(self._all())):
            service.stop()

    def channel(self, service: Service | None = None) -> grpc.aio.Channel:
        """A channel to a service, metadata if none is given; it comes back soon after a restart."""
        return open_test_channel((service or self.metadata).target)

    def _all(self) -> tuple[Service, ...]:
        return self.metadata, self.ingest, self.artifact, self.registry, self.gateway

    def _service(self, name: str, label: str | None = None) -> Service:
        return Service(name, label or name, self._directory, self._environment)


EVERY_SERVICE = ("metadata", "ingest", "artifact", "registry", "gateway")


def open_test_channel(target: str) -> grpc.aio.Channel:
    """A channel without retries of its own, so that a test sees every error."""
    options = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
    ]
    return grpc.aio.insecure_channel(target, options=options)

"""Renews the leases of this process's runs, so that the server can tell a long run from a lost one."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import grpc
from runstream_common.errors import PlatformError
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.metadata.v1.run_service_pb2 import HeartbeatRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from runstream.tracking.operations import heartbeat_record

if TYPE_CHECKING:
    from runstream.connection import Connection
    from runstream.tracking.delivery import RunDelivery

log = logging.getLogger("runstream")

# Two renewals may fail before the lease ends.
RENEWALS_PER_LEASE = 3
TIMEOUT_SECONDS = 10.0


class Heartbeat:
    """A thread that renews leases; started with the first run. Thread-safe.

    Args:
        connection: where to.
        lease_seconds: lease of the runs.
    """

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._interval_seconds = lease_seconds / RENEWALS_PER_LEASE
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._runs: dict[str, RunDelivery] = {}
        self._thread: threading.Thread | None = None

    def add(self, delivery: RunDelivery) -> None:
        """Renew a run's lease from now on."""
        with self._lock:
            self._runs[delivery.run_id] = delivery
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="runstream-heartbeat", daemon=True)
                self._thread.start()

    def remove(self, run_id: str) -> None:
        """Renew a run's lease no longer."""
        with self._lock:
            self._runs.pop(run_id, None)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: the parent renews the leases of its runs."""
        self._start_anew()

    def beat(self) -> None:
        """Renew every lease now; failures are left to the next turn."""
        with self._lock:
            runs = dict(self._runs)
        direct = [run_id for run_id, delivery in runs.items() if not delivery.relayed]
        for delivery in runs.values():
            if delivery.relayed:
                delivery.perform(heartbeat_record(delivery.run_id))
                delivery.seal()
        if not direct:
            return
        try:
            stub = self._connection.stub(RunServiceStub)
            answer = stub.Heartbeat(HeartbeatRequest(run_ids=direct), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            log.debug("leases could not be renewed: %s", from_rpc_error(error))
        except PlatformError as error:
            log.debug("leases could not be renewed: %s", error)
        else:
            for run_id in answer.revived_run_ids:
                log.info("run %s had been marked lost and is running again", run_id)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self.beat()
            except Exception:
                log.exception("leases could not be renewed")

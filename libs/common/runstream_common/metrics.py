"""Every Prometheus metric of the common library, with what it means.

Services keep their own metrics in their own ``metrics.py``, all under the prefix ``runstream_``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

RPC_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From an in-memory answer to the default deadline."""


class RpcMetrics:
    """What the gRPC server counts; per call, never per message of a stream."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.handled = Counter(
            "runstream_rpc_handled",
            "Calls that ended, by method and gRPC code.",
            ["method", "code"],
            registry=registry,
        )
        self.seconds = Histogram(
            "runstream_rpc_duration_seconds",
            "Time from a unary call's start to its end; streams are left out, since they end when clients do.",
            ["method"],
            buckets=RPC_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "runstream_rpc_in_flight",
            "Calls in progress.",
            ["method"],
            registry=registry,
        )


@cache
def rpc_metrics(registry: CollectorRegistry = REGISTRY) -> RpcMetrics:
    """The metrics of one registry; a registry takes each name once."""
    return RpcMetrics(registry)

"""Runstream: metrics from training runs, streamed.

import runstream

runstream.init("localhost:5050")
with runstream.start_run(experiment="digits", run_name="first"):
    runstream.log_params({"learning_rate": 0.1})
    for step, loss in enumerate(losses):
        runstream.log_metric("loss", loss, step)
"""

from typing import TYPE_CHECKING, Any

from runstream.fluent import (
    active_run,
    attach_run,
    close,
    end_run,
    flush,
    init,
    log_input,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_series,
    set_tag,
    set_tags,
    start_run,
)
from runstream.run import Run
from runstream.sender import FlushResult

if TYPE_CHECKING:
    from runstream.async_client import AsyncClient
    from runstream.client import Client
    from runstream.producer import MetricProducer

__all__ = [
    "AsyncClient",
    "Client",
    "FlushResult",
    "MetricProducer",
    "Run",
    "active_run",
    "attach_run",
    "close",
    "end_run",
    "flush",
    "init",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_series",
    "set_tag",
    "set_tags",
    "start_run",
]

# Imported when first used: training code that only logs should not pay for queries and Kafka.
_LAZY = {
    "AsyncClient": "runstream.async_client",
    "Client": "runstream.client",
    "MetricProducer": "runstream.producer",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only on this path

    return getattr(import_module(module), name)

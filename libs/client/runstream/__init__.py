"""Runstream: metrics from training runs, streamed.

import runstream

runstream.init("localhost:5050")
with runstream.start_run(experiment="digits", run_name="first"):
    runstream.log_params({"learning_rate": 0.1})
    for step, loss in enumerate(losses):
        runstream.log_metric("loss", loss, step)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runstream.environment  # noqa: F401 - before gRPC is imported

if TYPE_CHECKING:
    from runstream.producer import MetricProducer
    from runstream.query.async_client import AsyncClient
    from runstream.query.client import Client
    from runstream.registry.fluent import load_prompt, promote, register_model, register_prompt, rollback
    from runstream.registry.results_promotions import PromotionRefused
    from runstream.tracking.fluent import (
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
    from runstream.tracking.fluent_artifacts import (
        download_artifacts,
        list_artifacts,
        log_artifact,
        log_artifacts,
        log_dict,
        log_figure,
        log_image,
        log_table,
        log_text,
    )
    from runstream.tracking.run import Run
    from runstream.tracking.sender import FlushResult

__all__ = [
    "AsyncClient",
    "Client",
    "FlushResult",
    "MetricProducer",
    "PromotionRefused",
    "Run",
    "active_run",
    "attach_run",
    "close",
    "download_artifacts",
    "end_run",
    "flush",
    "init",
    "list_artifacts",
    "load_prompt",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_series",
    "log_table",
    "log_text",
    "promote",
    "register_model",
    "register_prompt",
    "rollback",
    "set_tag",
    "set_tags",
    "start_run",
]

# Imported when first used: the command line must start at once, and training code that only logs should not pay for
# queries and Kafka. Everything else comes from `runstream.tracking.fluent`.
_MODULES = {
    "AsyncClient": "runstream.query.async_client",
    "Client": "runstream.query.client",
    "FlushResult": "runstream.tracking.sender",
    "MetricProducer": "runstream.producer",
    "PromotionRefused": "runstream.registry.results_promotions",
    "Run": "runstream.tracking.run",
    **dict.fromkeys(
        (
            "download_artifacts",
            "list_artifacts",
            "log_artifact",
            "log_artifacts",
            "log_dict",
            "log_figure",
            "log_image",
            "log_table",
            "log_text",
        ),
        "runstream.tracking.fluent_artifacts",
    ),
    **dict.fromkeys(
        ("load_prompt", "promote", "register_model", "register_prompt", "rollback"),
        "runstream.registry.fluent",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULES.get(name, "runstream.tracking.fluent")), name)
    globals()[name] = found  # the next look-up is as quick as that of any name
    return found


def __dir__() -> list[str]:
    return __all__

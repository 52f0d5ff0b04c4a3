"""One log for our records and those of the libraries: JSON lines, or columns on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor

    from runstream_common.settings import ObservabilitySettings

QUIET_LIBRARIES = {
    # They tell at info what only their own developers want to know.
    "aiokafka": logging.WARNING,
    "alembic": logging.WARNING,  # run_migrations says what changed
    "asyncio": logging.WARNING,
    "faststream": logging.WARNING,
    "grpc": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}


def configure_logging(settings: ObservabilitySettings, *, service: str, stream: TextIO | None = None) -> None:
    """Send every record of the process through one chain; calling it again replaces the first call's.

    Args:
        settings: level and format.
        service: stands in every record.
        stream: where to write; stderr if not given, since stdout belongs to a command's own answer.
    """
    target = stream or sys.stderr
    shared = _shared_processors(service)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings, target),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = settings.log_level.upper()
    root.setLevel(level)
    for library, least in QUIET_LIBRARIES.items():
        logging.getLogger(library).setLevel(max(least, root.level))


def _shared_processors(service: str) -> list[Processor]:
    def add_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        add_service,
        _add_trace_ids,
    ]


def _add_trace_ids(_logger: Any, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _renderers(settings: ObservabilitySettings, target: TextIO) -> list[Processor]:
    console = settings.log_format == "console" or (settings.log_format == "auto" and target.isatty())
    if console:
        return [structlog.dev.ConsoleRenderer(colors=target.isatty(), timestamp_key="time")]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]

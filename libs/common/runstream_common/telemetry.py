"""OpenTelemetry traces of our own calls; costs nothing unless an endpoint is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from runstream_common.settings import ObservabilitySettings

TRACER_NAME = "runstream"


def configure_tracing(
    settings: ObservabilitySettings, *, service: str, exporter: SpanExporter | None = None
) -> bool:
    """Export spans to ``otel_endpoint``; does nothing when it is empty. Effective once in a process.

    Args:
        settings: endpoint and sampling.
        service: the ``service.name`` of every span.
        exporter: used instead of OTLP, whatever the endpoint.

    Returns:
        Whether spans are recorded.
    """
    if not settings.otel_endpoint and exporter is None:
        return False
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"runstream-{service}"}),
        sampler=ParentBased(TraceIdRatioBased(settings.otel_sample_ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter or _otlp_exporter(settings.otel_endpoint)))
    trace.set_tracer_provider(provider)
    return True


def shutdown_tracing() -> None:
    """Send what is buffered and stop."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def tracing_enabled() -> bool:
    """Whether ``configure_tracing`` has switched spans on."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def tracer() -> trace.Tracer:
    """The tracer of the platform's own code."""
    return trace.get_tracer(TRACER_NAME)


def _otlp_exporter(endpoint: str) -> SpanExporter:
    # Imported here: it pulls in a second copy of the OTLP messages, which only traced processes need.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))

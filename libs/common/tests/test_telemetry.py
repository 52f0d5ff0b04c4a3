"""Spans of calls, in a process of its own since tracing is set up once in a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from runstream_common.settings import ObservabilitySettings
from runstream_common.telemetry import configure_tracing, tracing_enabled

REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import asyncio, json
import grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from runstream_common.errors import NotFound
from runstream_common.logs import configure_logging
from runstream_common.settings import ObservabilitySettings
from runstream_common.telemetry import configure_tracing, shutdown_tracing
from tests.support.grpc_server import serving

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

async def call(request, context):
    if request == b"missing":
        raise NotFound("no such run")
    if request == b"broken":
        raise ValueError("hunter2")
    return b""

async def main():
    configure_logging(ObservabilitySettings(), service="metadata")  # to stderr, away from the spans
    exporter = InMemorySpanExporter()
    assert configure_tracing(ObservabilitySettings(), service="metadata", exporter=exporter)
    async with serving({"Call": grpc.unary_unary_rpc_method_handler(call)}) as running:
        await running.unary("Call", metadata=[("traceparent", TRACE)])
        for request in (b"missing", b"broken"):
            try:
                await running.unary("Call", request)
            except grpc.RpcError:
                pass
    shutdown_tracing()
    print(json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()]))

asyncio.run(main())
"""


def test_calls_become_spans_of_the_callers_trace_and_refusals_are_no_faults() -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    fine, missing, broken = json.loads(result.stdout)
    assert fine["name"] == "test.v1.TestService/Call"
    assert fine["context"]["trace_id"] == "0x0af7651916cd43dd8448eb211c80319c"
    assert fine["resource"]["attributes"]["service.name"] == "runstream-metadata"
    assert fine["attributes"] == {"rpc.system": "grpc", "rpc.grpc.status_code": 0}
    assert (missing["attributes"]["rpc.grpc.status_code"], missing["status"]["status_code"]) == (5, "UNSET")
    assert (broken["attributes"]["rpc.grpc.status_code"], broken["status"]["status_code"]) == (13, "ERROR")
    assert "hunter2" not in result.stdout


def test_without_an_endpoint_nothing_is_recorded() -> None:
    assert not configure_tracing(ObservabilitySettings(), service="metadata")
    assert not tracing_enabled()

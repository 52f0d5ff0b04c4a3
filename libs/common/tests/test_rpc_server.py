"""The gRPC server on a real socket: errors, deadlines, streams, limits, health, reflection, draining."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry import trace
from prometheus_client import CollectorRegistry
from runstream_common.errors import (
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PlatformError,
    ResourceExhausted,
    Unavailable,
)
from runstream_common.rpc.channel import open_channel
from runstream_common.rpc.discovery import SERVICE_NAME, discovery_registration
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.common.v1 import discovery_service_pb2, discovery_service_pb2_grpc
from structlog.testing import capture_logs

from tests.support.grpc_server import SERVICE, serving, settings_for_tests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable


def unary(behaviour: Any) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    return {"Call": grpc.unary_unary_rpc_method_handler(behaviour)}


async def error_of(call: Awaitable[Any]) -> PlatformError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def test_an_answer_passes_and_is_counted() -> None:
    async with serving(unary(echo)) as running:
        assert await running.unary("Call", b"hello") == b"hello"
        await running.counted("Call", "OK")
        assert running.in_flight("Call") == 0


async def test_a_refusal_arrives_with_its_details_and_is_logged_at_info() -> None:
    async def refuse(request: bytes, context: Any) -> bytes:
        raise NotFound("run 7 does not exist", reason="RUN_NOT_FOUND", metadata={"run_id": "7"})

    async with serving(unary(refuse)) as running:
        with capture_logs() as logs:
            error = await error_of(running.unary("Call"))
        assert (type(error), error.reason, error.metadata) == (NotFound, "RUN_NOT_FOUND", {"run_id": "7"})
        await running.counted("Call", "NOT_FOUND")
    (line,) = [line for line in logs if line["event"] == "rpc_refused"]
    assert (line["log_level"], line["reason"], line["method"]) == (
        "info",
        "RUN_NOT_FOUND",
        f"/{SERVICE}/Call",
    )


@pytest.mark.parametrize("streams", [False, True])
async def test_a_request_that_is_not_of_its_type_is_refused_and_counted(streams: bool) -> None:
    async def answer(request: Any, context: Any) -> bytes:
        raise AssertionError("nobody can handle this")

    async def follow(request: Any, context: Any) -> AsyncIterator[bytes]:
        raise AssertionError("nobody can handle this")
        yield b""

    read = discovery_service_pb2.ListServicesResponse.FromString
    handler = (
        grpc.unary_stream_rpc_method_handler(follow, request_deserializer=read)
        if streams
        else grpc.unary_unary_rpc_method_handler(answer, request_deserializer=read)
    )
    async with serving({"Call": handler}) as running:
        with pytest.raises(grpc.RpcError) as caught:
            if streams:
                await running.channel.unary_stream(f"/{SERVICE}/Call")(b"\xff").read()
            else:
                await running.unary("Call", b"\xff")
        error = from_rpc_error(caught.value)
        assert (type(error), error.reason) == (InvalidArgument, "MALFORMED_PROTOBUF")
        await running.counted("Call", "INVALID_ARGUMENT")


async def test_an_unknown_error_shows_an_id_and_no_text() -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise KeyError("password hunter2")

    async with serving(unary(fail)) as running:
        with capture_logs() as logs:
            error = await error_of(running.unary("Call"))
        assert isinstance(error, Internal)
        assert "hunter2" not in error.message
        await running.counted("Call", "INTERNAL")
    (line,) = [line for line in logs if line["event"] == "rpc_failed"]
    assert (line["log_level"], line["error_id"]) == ("error", error.metadata["error_id"])
    assert "hunter2" in str(line["exc_info"])


async def test_a_thousand_violations_still_arrive() -> None:
    async def refuse(request: bytes, context: Any) -> bytes:
        raise InvalidArgument([FieldViolation(f"series[{i}].key", "é" * 300) for i in range(1000)])

    async with serving(unary(refuse)) as running:
        error = await error_of(running.unary("Call"))
        assert isinstance(error, InvalidArgument)
        assert error.violations[0].field == "series[0].key"
        assert int(error.metadata["violations_omitted"]) > 900


async def test_an_abort_by_the_handler_keeps_its_code() -> None:
    async def abort(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    async with serving(unary(abort)) as running:
        assert isinstance(await error_of(running.unary("Call")), NotFound)
        await running.counted("Call", "NOT_FOUND")


async def test_a_unary_call_without_a_deadline_gets_one() -> None:
    async def hang(request: bytes, context: Any) -> None:
        await asyncio.Event().wait()

    async with serving(unary(hang), default_deadline_seconds=0.05) as running:
        error = await error_of(running.unary("Call"))
        assert isinstance(error, DeadlineExceeded)
        await running.counted("Call", "DEADLINE_EXCEEDED")


async def test_a_timeout_inside_the_handler_is_not_mistaken_for_the_deadline() -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise TimeoutError("some other timer")

    async with serving(unary(fail), default_deadline_seconds=5) as running:
        assert isinstance(await error_of(running.unary("Call")), Internal)


async def test_a_clients_deadline_wins_and_cancels_the_handler() -> None:
    cancelled = asyncio.Event()

    async def hang(request: bytes, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(unary(hang), default_deadline_seconds=100) as running:
        assert isinstance(await error_of(running.unary("Call", timeout=0.05)), DeadlineExceeded)
        await asyncio.wait_for(cancelled.wait(), 10)


async def test_streams_of_every_kind_pass_and_have_no_deadline() -> None:
    async def count_up(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield str(number).encode()

    async def write(request: bytes, context: Any) -> None:
        await context.write(b"written")

    async def total(requests: AsyncIterator[bytes], context: Any) -> bytes:
        assert context.time_remaining() is None
        return b"".join([request async for request in requests])

    async def echo_all(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        raise ResourceExhausted("enough", retry_after_seconds=0.5)

    handlers = {
        "CountUp": grpc.unary_stream_rpc_method_handler(count_up),
        "Write": grpc.unary_stream_rpc_method_handler(write),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "EchoAll": grpc.stream_stream_rpc_method_handler(echo_all),
    }
    async with serving(handlers) as running:
        channel = running.channel
        assert [item async for item in channel.unary_stream(f"/{SERVICE}/CountUp")(b"")] == [b"0", b"1", b"2"]
        assert [item async for item in channel.unary_stream(f"/{SERVICE}/Write")(b"")] == [b"written"]
        assert await channel.stream_unary(f"/{SERVICE}/Total")(iter([b"a", b"b"])) == b"ab"
        call = channel.stream_stream(f"/{SERVICE}/EchoAll")(iter([b"x"]))
        assert await call.read() == b"x"
        error = await error_of(call.read())
        assert isinstance(error, ResourceExhausted)
        assert error.retry_after_seconds == 0.5
        for name in ("CountUp", "Write", "Total"):
            await running.counted(name, "OK")
        await running.counted("EchoAll", "RESOURCE_EXHAUSTED")


async def test_a_stream_that_its_client_leaves_is_closed_and_counted() -> None:
    closed = asyncio.Event()

    async def forever(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving({"Forever": grpc.unary_stream_rpc_method_handler(forever)}) as running:
        call = running.channel.unary_stream(f"/{SERVICE}/Forever")(b"")
        assert await call.read() == b"first"
        assert running.in_flight("Forever") == 1
        call.cancel()
        await asyncio.wait_for(closed.wait(), 10)
    await running.counted("Forever", "CANCELLED")
    assert running.in_flight("Forever") == 0


async def test_an_unknown_method_makes_no_metric() -> None:
    async with serving(unary(echo)) as running:
        assert (await error_of(running.unary("Nonsense"))).reason == "UNIMPLEMENTED"
        assert running.in_flight("Nonsense") is None


async def test_a_message_over_the_limit_is_refused_and_the_connection_lives() -> None:
    async with (
        serving(unary(echo), grpc_max_message_bytes=64 * 1024) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.server.port}") as careless,
    ):
        call = careless.unary_unary(f"/{SERVICE}/Call")
        assert isinstance(await error_of(call(b"x" * 200_000)), ResourceExhausted)
        assert await call(b"x" * 64 * 1024) == b"x" * 64 * 1024


async def test_calls_beyond_the_bound_are_refused() -> None:
    release, inside = asyncio.Event(), asyncio.Event()

    async def hold(request: bytes, context: Any) -> bytes:
        inside.set()
        await release.wait()
        return b"done"

    async with serving(unary(hold), grpc_max_concurrent_rpcs=1) as running:
        first = asyncio.ensure_future(running.unary("Call"))
        await inside.wait()
        assert isinstance(await error_of(running.unary("Call")), ResourceExhausted)
        release.set()
        assert await first == b"done"


async def test_a_slow_call_is_a_warning() -> None:
    async def dawdle(request: bytes, context: Any) -> bytes:
        started = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - started < 0.002:  # the bound under test is 1 ms
            await asyncio.sleep(0)
        return b""

    async with serving(unary(dawdle), slow_rpc_ms=1) as running:
        with capture_logs() as logs:
            await running.unary("Call")
    assert [line["log_level"] for line in logs if line["event"] == "rpc_slow"] == ["warning"]


async def test_the_callers_trace_id_reaches_the_handler() -> None:
    async def tell(request: bytes, context: Any) -> bytes:
        return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id).encode()

    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with serving(unary(tell)) as running:
        sent = [("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")]
        assert await running.unary("Call", metadata=sent) == trace_id.encode()
        assert await running.unary("Call") == b"0" * 32


async def test_health_and_reflection_are_served() -> None:
    async with serving(unary(echo)) as running:
        health = health_pb2_grpc.HealthStub(running.channel)
        for name in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        call = reflection.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        listed = await call.read()
        assert SERVICE in [item.name for item in listed.list_services_response.service]
        call.cancel()


async def test_discovery_tells_every_address() -> None:
    settings = settings_for_tests(services={"metadata": "db.example:5050", "ingest": "in.example:5051"})
    server = build_server(settings, [discovery_registration(settings)], registry=CollectorRegistry())
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{server.port}", settings, idempotent=[SERVICE_NAME]) as channel:
            stub = discovery_service_pb2_grpc.DiscoveryServiceStub(channel)
            answer = await stub.ListServices(discovery_service_pb2.ListServicesRequest())
    finally:
        await server.stop()
    assert [(item.name, item.target) for item in answer.services] == [
        ("ingest", "in.example:5051"),
        ("metadata", "db.example:5050"),
    ]
    assert (answer.topology, bool(answer.version)) == ("kafka", True)


async def test_a_taken_port_is_a_clear_error() -> None:
    async with serving(unary(echo)) as running:
        second = build_server(
            settings_for_tests(grpc_port=running.server.port), [], registry=CollectorRegistry()
        )
        with pytest.raises(OSError, match=f"127.0.0.1:{running.server.port} .RUNSTREAM_GRPC_PORT."):
            await second.start()


async def closed(port: int) -> None:
    """Wait until nothing listens on the port."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # taken from the queue of a socket that was just being closed
        writer.close()


async def test_stopping_lets_calls_end_and_takes_no_more() -> None:
    release, inside = asyncio.Event(), asyncio.Event()

    async def hold(request: bytes, context: Any) -> bytes:
        inside.set()
        await release.wait()
        return b"done"

    async with serving(unary(hold), shutdown_grace_seconds=600) as running:
        held = asyncio.ensure_future(running.unary("Call"))
        await inside.wait()
        stopping = asyncio.ensure_future(running.server.stop())
        await closed(running.server.port)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.server.port}") as late:
            assert isinstance(await error_of(late.unary_unary(f"/{SERVICE}/Call")(b"")), Unavailable)
        release.set()
        assert await held == b"done"
        await stopping


async def test_stopping_does_not_wait_for_streams_that_never_end() -> None:
    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def take(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    handlers = {
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Take": grpc.stream_stream_rpc_method_handler(take),
    }
    # Were the streams waited for, stopping would outlast the test's own time limit.
    async with serving(handlers, shutdown_grace_seconds=600) as running:
        watching = running.channel.unary_stream(f"/{SERVICE}/Watch")(b"")
        taking = running.channel.stream_stream(f"/{SERVICE}/Take")()
        await taking.write(b"x")
        assert (await watching.read(), await taking.read()) == (b"first", b"x")
        stopping = asyncio.ensure_future(running.server.stop())
        for call in (watching, taking):
            error = await error_of(call.read())
            assert isinstance(error, Unavailable)
            assert (error.reason, error.retry_after_seconds) == ("SERVER_STOPPING", 0.5)
        await stopping
        await running.counted("Watch", "UNAVAILABLE")


async def test_an_idempotent_call_survives_a_restart_of_its_server() -> None:
    settings = settings_for_tests()
    async with serving(unary(echo)) as running:
        port = running.server.port
        channel = open_channel(f"127.0.0.1:{port}", settings, idempotent=[SERVICE])
        assert await channel.unary_unary(f"/{SERVICE}/Call")(b"1") == b"1"
        await running.server.stop()
        async with serving(unary(echo), grpc_port=port):
            again = channel.unary_unary(f"/{SERVICE}/Call")(b"2", wait_for_ready=True, timeout=20)
            assert await again == b"2"
        await channel.close()

"""Sending fuzzed requests, and what an answer may be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import grpc
from hypothesis import HealthCheck, Phase, settings
from runstream_common.errors import PlatformError
from runstream_common.rpc.status import from_rpc_error

if TYPE_CHECKING:
    from tests.support.rpc_fuzz import Rpc

EXAMPLES = int(os.environ.get("RUNSTREAM_TEST_FUZZ_EXAMPLES", "10"))
"""For each RPC; more find more and take longer."""
CALL_SECONDS = 0.3
"""A request may legally ask to wait, or to follow for ever: then this ends it."""
ANSWER_SECONDS = 20.0
"""For calls that neither wait nor follow: long enough to see how each of them ends."""

# INTERNAL and UNKNOWN are faults of the server's. UNIMPLEMENTED would be a door that leads nowhere.
NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Without shrinking: a failure is to be told soon, and objects that are made anew would mislead it.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Ending(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    error: PlatformError | None = None


async def call(
    channel: grpc.aio.Channel, rpc: Rpc, request: bytes, unary_seconds: float = CALL_SECONDS
) -> Ending:
    """Send one request, read what comes until the time is up, and say how the call ended."""
    try:
        if rpc.request_streaming:
            stream = channel.stream_stream(rpc.path)(iter([request]), timeout=CALL_SECONDS)
        elif rpc.response_streaming:
            stream = channel.unary_stream(rpc.path)(request, timeout=CALL_SECONDS)
        else:
            await channel.unary_unary(rpc.path)(request, timeout=unary_seconds)
            return Ending(grpc.StatusCode.OK)
        async for _ in stream:
            pass
    except grpc.aio.AioRpcError as error:
        return Ending(error.code(), from_rpc_error(error))
    return Ending(grpc.StatusCode.OK)

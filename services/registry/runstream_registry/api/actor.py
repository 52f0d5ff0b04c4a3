"""Who makes a call, from its request metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.rpc import actor

if TYPE_CHECKING:
    import grpc


def actor_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Who makes the call: asserted by the client, not proven; "unknown" when it does not say."""
    return actor.actor_of(context.invocation_metadata())

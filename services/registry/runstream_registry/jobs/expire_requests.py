"""Lets requests for approval expire, and carries out those that a service which ended had left approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_common.periodic import run_periodically

if TYPE_CHECKING:
    from runstream_registry.promotion.requests import Requests

REQUESTS_AT_ONCE: Final = 100


async def run_expire_requests(requests: Requests, interval_seconds: float) -> None:
    """Look after open requests until cancelled.

    Args:
        interval_seconds: time between two rounds.
    """

    async def look_after() -> int:
        expired = await requests.expire(REQUESTS_AT_ONCE)
        return expired + await requests.carry_out_left_behind(REQUESTS_AT_ONCE)

    await run_periodically("expire_requests", look_after, interval_seconds)

"""``python -m runstream_gateway``: serve until told to stop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runstream_common.service import Service, main

from runstream_gateway.edge.workers import WorkerGroup
from runstream_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from runstream_common.service import Runtime


async def build(runtime: Runtime[GatewaySettings]) -> Service:
    """The parts of this process: a server, or only the group of workers that are servers."""
    if runtime.settings.http_workers > 1:
        return Service([WorkerGroup(runtime)])
    # Imported here: a parent of workers needs none of it, and it takes seconds and a hundred megabytes.
    from runstream_gateway import wiring  # noqa: PLC0415

    return await wiring.build(runtime)


if __name__ == "__main__":
    sys.exit(main("gateway", GatewaySettings, build))

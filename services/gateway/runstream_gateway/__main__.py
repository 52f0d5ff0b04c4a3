"""``python -m runstream_gateway``: serve until told to stop."""

from __future__ import annotations

import sys

from runstream_common.service import main

from runstream_gateway.settings import GatewaySettings
from runstream_gateway.wiring import build

if __name__ == "__main__":
    sys.exit(main("gateway", GatewaySettings, build))

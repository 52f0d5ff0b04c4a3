"""``python -m runstream_registry`` serves; ``python -m runstream_registry migrate`` brings the schema up to date."""

from __future__ import annotations

import sys

from runstream_common.service import main

from runstream_registry.settings import RegistrySettings
from runstream_registry.wiring import build, migrate

if __name__ == "__main__":
    sys.exit(main("registry", RegistrySettings, build, migrate=migrate))

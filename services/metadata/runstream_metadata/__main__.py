"""``python -m runstream_metadata`` serves; ``python -m runstream_metadata migrate`` brings the schema up to date."""

from __future__ import annotations

import sys

from runstream_common.service import main

from runstream_metadata.settings import MetadataSettings
from runstream_metadata.wiring import build, migrate

if __name__ == "__main__":
    sys.exit(main("metadata", MetadataSettings, build, migrate=migrate))

"""``python -m runstream_artifact`` serves; ``python -m runstream_artifact migrate`` brings the schema up to date."""

from __future__ import annotations

import sys

from runstream_common.service import main

from runstream_artifact.settings import ArtifactSettings
from runstream_artifact.wiring import build, migrate

if __name__ == "__main__":
    sys.exit(main("artifact", ArtifactSettings, build, migrate=migrate))

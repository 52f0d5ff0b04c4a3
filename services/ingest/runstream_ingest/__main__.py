"""`python -m runstream_ingest`: serve until told to stop."""

import sys

from runstream_common.service import main

from runstream_ingest.settings import IngestSettings
from runstream_ingest.wiring import build

if __name__ == "__main__":
    sys.exit(main("ingest", IngestSettings, build))

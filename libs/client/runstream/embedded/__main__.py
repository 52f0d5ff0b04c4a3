"""The supervisor of a detached stack: `python -m runstream.embedded --data-dir DIR …`."""

import argparse
import sys
from pathlib import Path

from runstream.embedded.options import DEFAULT_PORT, StackOptions, default_data_dir
from runstream.embedded.ports import PortTaken
from runstream.embedded.postgres import PostgresError
from runstream.embedded.process import ServiceFailed
from runstream.embedded.stack import run
from runstream.embedded.state import StackRunning


def main() -> int:
    """Run a stack with the log in its file only; one line on stderr when it cannot start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--http-port", type=int)
    parser.add_argument("--kafka")
    parser.add_argument("--database-url")
    parser.add_argument("--object-store-url")
    arguments = parser.parse_args()
    options = StackOptions(**vars(arguments), log_format="json")
    try:
        run(options, echo=False)
    except (StackRunning, PortTaken, PostgresError, ServiceFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

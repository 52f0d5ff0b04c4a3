"""``python -m runstream_gateway.web_ui unpack <wheel> <folder>``: the web UI out of MLflow's wheel, for image builds."""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from runstream_gateway.web_ui.build import unpack


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code.

    Args:
        argv: arguments after the program's name; the process's own if not given.
    """
    parser = argparse.ArgumentParser(prog="python -m runstream_gateway.web_ui", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("unpack", help="write the web UI of a wheel to a folder")
    command.add_argument("wheel", type=Path, help="file of the whole mlflow package")
    command.add_argument(
        "folder", type=Path, help="made when it is missing; give it as RUNSTREAM_MLFLOW_UI_DIR"
    )
    arguments = parser.parse_args(argv)
    try:
        count = unpack(arguments.wheel, arguments.folder)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"cannot unpack {arguments.wheel}: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 1
    print(f"{count} files in {arguments.folder}")  # noqa: T201 - a command's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())

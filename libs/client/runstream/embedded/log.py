"""The stack's one tidy log: every service's lines, each with its name in front, on the terminal and in a file."""

import logging
import logging.handlers
import sys
from pathlib import Path

MAX_FILE_BYTES = 20 * 1024 * 1024
KEPT_FILES = 3
NAME_WIDTH = 8
COLOURS = {"up": "1", "postgres": "34", "metadata": "32", "ingest": "36"}


class StackLog:
    """Writes lines of all services to one rotating file, and to a terminal unless quiet.

    Args:
        path: the log file; its folder is made.
        echo: also write to standard output.
    """

    def __init__(self, path: Path, *, echo: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = logging.handlers.RotatingFileHandler(
            path, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES
        )
        self._echo = echo
        self._colour = echo and sys.stdout.isatty()

    def line(self, name: str, text: str) -> None:
        """Write one line of the named service."""
        label = f"{name:<{NAME_WIDTH}} | "
        self._file.handle(logging.LogRecord(name, logging.INFO, "", 0, label + text, None, None))
        if self._echo:
            if self._colour:
                label = f"\033[{COLOURS.get(name, '35')}m{label}\033[0m"
            sys.stdout.write(f"{label}{text}\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

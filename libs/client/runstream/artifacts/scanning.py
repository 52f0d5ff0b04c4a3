"""Finding the files of a folder. Nothing but regular files is followed or read."""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_common.errors import FieldViolation

from runstream.artifacts.errors import LocalPathRefused
from runstream.artifacts.locations import joined
from runstream.artifacts.sources import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runstream.artifacts.sources import Source

_KINDS = (
    (stat.S_ISLNK, "a symbolic link (give its target, or skip such files)"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True, slots=True)
class NewFile:
    """Content and where it goes.

    Attributes:
        path: path in the tree.
        source: content.
    """

    path: str
    source: Source


def scan(root: Path, target: str, *, skip_special: bool = False) -> list[NewFile]:
    """The files of a folder, or a single file, by path.

    Args:
        root: file or folder. A file goes to `target`/its name, the content of a folder to `target`.
        target: directory in the tree; empty means its root.
        skip_special: leave symbolic links and special files out instead of refusing them.

    Raises:
        LocalPathRefused: a symbolic link, a special file or a name that cannot be stored; names up to ten.
        OSError: something is not there or cannot be read.
    """
    root = Path(root)
    status = root.lstat()
    entries = _walk(root) if stat.S_ISDIR(status.st_mode) else iter([(root, root.name, status)])
    found: dict[str, NewFile] = {}
    refused: list[FieldViolation] = []
    for path, relative, entry_status in entries:
        problem = _problem(relative, entry_status)
        if problem is None:
            new = NewFile(joined(target, relative), FileSource(path, entry_status))
            clash = found.setdefault(new.path, new)
            if clash is not new:
                problem = f"it has the same name as {clash.source.name} in Unicode NFC"
        elif skip_special and not stat.S_ISREG(entry_status.st_mode):
            continue
        if problem is not None:
            refused.append(FieldViolation(os.fsencode(path).decode(errors="replace"), problem))
    if refused:
        raise LocalPathRefused(refused[:10], message=_summary(refused))
    return [found[path] for path in sorted(found, key=str.encode)]


def regular_file(path: Path) -> FileSource:
    """A single file.

    Raises:
        LocalPathRefused: it is no regular file.
        OSError: it is not there.
    """
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        raise LocalPathRefused.of(str(path), "a directory, where a file is wanted")
    problem = _problem("", status)
    if problem is not None:
        raise LocalPathRefused.of(str(path), problem)
    return FileSource(path, status)


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[Path, str, os.stat_result]]:
    folders: list[tuple[Path, str]] = [(folder, prefix)]
    while folders:
        directory, base = folders.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                relative = f"{base}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append((Path(entry.path), f"{relative}/"))
                else:
                    yield Path(entry.path), relative, status


def _problem(relative: str, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return next((text for is_kind, text in _KINDS if is_kind(status.st_mode)), "no regular file")
    try:
        unicodedata.normalize("NFC", relative).encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    return None


def _summary(refused: Iterable[FieldViolation]) -> str:
    lines = [f"{item.field}: {item.description}" for item in refused]
    more = f"; and {len(lines) - 10} more" if len(lines) > 10 else ""
    return "cannot be stored: " + "; ".join(lines[:10]) + more

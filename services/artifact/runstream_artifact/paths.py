"""Which paths a file may have, so that every system can hold a copy of the tree and no path leads out of it.

Unicode is normalised to NFC: two spellings of the same name are one file, also for clients of systems that store NFD.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PATH_BYTES = 1024
"""Bytes of a whole path in UTF-8 (S3's longest key)."""
MAX_NAME_BYTES = 255
"""Bytes of one name in UTF-8 (ext4, XFS, APFS; NTFS counts 255 UTF-16 units, which is never less)."""

BEHIND_EVERY_PATH = "\U0010ffff"
"""Sorts behind every path: noncharacters are refused."""

# Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Windows; superscript digits count too.
_DEVICE_NAMES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³"}
)


def file_path(text: str, field: str = "path", *, portable: bool = True) -> str:
    """The path of a file, normalised.

    Args:
        text: as given.
        field: named by errors.
        portable: whether every system must be able to hold it; what only some can is no danger here, and to look for it
            no mistake.

    Raises:
        InvalidArgument: naming the field and what is wrong.
    """
    if not text:
        raise InvalidArgument.of(field, "is required", reason="INVALID_PATH")
    return _checked(text, field, portable=portable)


def directory_path(text: str, field: str = "path", *, portable: bool = True) -> str:
    """The path of a file or directory, normalised; empty for the root. One slash at the end is taken off.

    Args:
        text: as given.
        field: named by errors.
        portable: see ``file_path``.

    Raises:
        InvalidArgument: naming the field and what is wrong.
    """
    text = text.removesuffix("/") if len(text) > 1 else text
    return _checked(text, field, portable=portable) if text else ""


def below(path: str) -> tuple[str, str]:
    """What every path below a directory lies between: from the first, before the second; bytewise.

    Args:
        path: a directory; empty for the root.
    """
    # "0" is the character after "/".
    return (f"{path}/", f"{path}0") if path else ("", BEHIND_EVERY_PATH)


def parents(path: str) -> list[str]:
    """The directories that a path lies in, outermost first, without the root."""
    names = path.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names))]


def conflict_within(new: Iterable[str]) -> tuple[str, str] | None:
    """Two of the paths of which one would be a directory of the other: the file first; None when there are none."""
    known = set(new)
    for path in sorted(known):
        for parent in parents(path):
            if parent in known:
                return parent, path
    return None


def base_name(path: str) -> str:
    """The last name of a path."""
    return path.rpartition("/")[2]


def joined(directory: str, relative: str) -> str:
    """A path below a directory; the directory may be the root."""
    return f"{directory}/{relative}" if directory else relative


def check_length(path: str, field: str) -> None:
    """Refuse a path that is longer than one may be.

    Raises:
        InvalidArgument: it is.
    """
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > MAX_PATH_BYTES:
        raise _invalid(field, f"has {size} bytes in UTF-8, at most {MAX_PATH_BYTES} are allowed")


def _checked(text: str, field: str, *, portable: bool) -> str:
    # Before it is normalised: that takes time in proportion to the length.
    check_length(text, field)
    problem = _character_problem(text, portable=portable)
    if problem:
        raise _invalid(field, problem)
    path = unicodedata.normalize("NFC", text)
    check_length(path, field)
    if path.startswith("/"):
        raise _invalid(field, "must be relative: it begins with '/'")
    for name in path.split("/"):
        problem = _name_problem(name) or (_portability_problem(name) if portable else None)
        if problem:
            raise _invalid(field, problem)
    return path


def _character_problem(text: str, *, portable: bool) -> str | None:
    for character in text:
        if character == "\\" and portable:
            return "must not hold a backslash; names are separated by '/'"
        code = ord(character)
        if unicodedata.category(character) == "Cc":
            return f"must not hold control characters: U+{code:04X}"
        if 0xD800 <= code <= 0xDFFF:
            return f"must not hold lone surrogates: U+{code:04X}"
        if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
            return f"must not hold noncharacters: U+{code:04X}"
    return None


def _name_problem(name: str) -> str | None:
    if not name:
        return "must not hold empty names ('//' or a '/' at the end)"
    if name in {".", ".."}:
        return f"must not hold {name!r}"
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        return f"holds a name of {size} bytes in UTF-8, at most {MAX_NAME_BYTES} are allowed"
    return None


def _portability_problem(name: str) -> str | None:
    if name.endswith((".", " ")):
        return f"must not hold a name that ends with a dot or space: {name!r}; Windows would drop it"
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICE_NAMES:
        return f"must not hold the name of a Windows device: {name!r}"
    return None


def _invalid(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of(field, description, reason="INVALID_PATH")

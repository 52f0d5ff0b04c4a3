"""Targets as people type them: "alias/champion" or "stage/Production"."""

from __future__ import annotations

import msgspec
from runstream_common.errors import InvalidArgument

from runstream_gateway.control.values import Target


def read_target(text: str) -> Target:
    """The target.

    Raises:
        InvalidArgument: it is none.
    """
    kind, separator, name = text.strip().partition("/")
    if not separator or kind not in {"alias", "stage"}:
        raise InvalidArgument.of("target", "must be alias/<alias> or stage/<Stage>")
    try:
        return msgspec.convert({kind: name}, Target)
    except msgspec.ValidationError as error:
        raise InvalidArgument.of("target", str(error)) from error

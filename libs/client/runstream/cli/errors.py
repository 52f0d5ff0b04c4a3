"""Errors as one clear line and an exit code; a traceback is for bugs only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer
from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PlatformError,
    Unavailable,
)

from runstream.cli import output
from runstream.cli.options import FILTER_KEY, JSON_KEY, URL_KEY
from runstream.connection import URL_VARIABLE, target_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_CODES: tuple[tuple[type[PlatformError], int], ...] = (
    (InvalidArgument, output.EXIT_USAGE),
    (NotFound, output.EXIT_NOT_FOUND),
    (Unavailable, output.EXIT_UNREACHABLE),
    (AlreadyExists, output.EXIT_REFUSED),
    (FailedPrecondition, output.EXIT_REFUSED),
)
# Also of errors of another kind: MLflow calls an alias that is not there an invalid argument.
NOT_FOUND_SUFFIX = "_NOT_FOUND"
# Told apart from other refusals, since a pipeline goes on differently after it.
PROMOTION_REFUSED = "PROMOTION_REFUSED"
# What grpc says when nobody answered, as opposed to a service that says that a part of it is away.
_UNREACHED = (
    "failed to connect",
    "connection refused",
    "name resolution",
    "dns",
    "connection reset",
    "socket closed",
)


def report(error: Exception, meta: MutableMapping[str, Any]) -> typer.Exit:
    """Tell a person or a program what went wrong.

    Args:
        error: a platform error, a missing extra, or a file that cannot be written.
        meta: the command's context, with the options that matter for telling.
    """
    rules = getattr(error, "rules", ())
    code = _code(error)
    message = _message(error, meta)
    if not meta.get(JSON_KEY):
        if rules and isinstance(error, PlatformError):
            message = f"{getattr(error, 'headline', error.message)} ({error.reason})"
        return output.fail("\n".join([message, *(f"  {rule}" for rule in rules)]), code)
    reason = error.reason if isinstance(error, PlatformError) else type(error).__name__
    violations = [
        {"field": item.field, "description": item.description} for item in getattr(error, "violations", ())
    ]
    told: dict[str, Any] = {"reason": reason, "message": message, "violations": violations}
    if rules:
        told["rules"] = [rule.to_dict() for rule in rules]
    output.print_json_error({"error": told})
    return typer.Exit(code)


def _code(error: Exception) -> int:
    if isinstance(error, FileNotFoundError):
        return output.EXIT_NOT_FOUND
    if isinstance(error, PlatformError):
        if error.reason == PROMOTION_REFUSED:
            return output.EXIT_GATED
        if error.reason.endswith(NOT_FOUND_SUFFIX):
            return output.EXIT_NOT_FOUND
    return next((code for kind, code in _CODES if isinstance(error, kind)), output.EXIT_PROBLEM)


def _message(error: Exception, meta: MutableMapping[str, Any]) -> str:
    if isinstance(error, Unavailable) and is_unreached(error):
        return unreached(target_of(meta.get(URL_KEY)))
    if isinstance(error, InvalidArgument) and error.reason == "INVALID_FILTER":
        return _with_place(error, meta.get(FILTER_KEY))
    if isinstance(error, PlatformError):
        return f"{error.message} ({error.reason})"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def is_unreached(error: Unavailable) -> bool:
    """Whether nobody answered, rather than somebody who said no."""
    return error.reason in {"UNAVAILABLE", "CANCELLED"} and any(
        word in error.message.lower() for word in _UNREACHED
    )


def unreached(target: str) -> str:
    """What to say when nothing answers at an address."""
    return (
        f"cannot reach {target}: is it running? Start a stack with `runstream up`, or name the address with --url or "
        f"{URL_VARIABLE}; `runstream doctor` looks closer"
    )


def _with_place(error: InvalidArgument, filter_text: str | None) -> str:
    """The filter with a mark under the character that the service stumbled over."""
    position = error.metadata.get("position", "")
    at_filter = any(violation.field == "filter" for violation in error.violations)
    if not (filter_text and at_filter and position.isdigit() and "\n" not in filter_text):
        return f"{error.message} ({error.reason})"
    return f"{error.message}\n  {filter_text}\n  {' ' * int(position)}^"

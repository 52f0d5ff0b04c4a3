"""What names, tags, texts and ids may be: MLflow's rules, checked before anything is written.

Checks append to a list of violations, so that a request learns everything that is wrong with it at once.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_common.errors import InvalidArgument
from runstream_contract.names import is_run_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.violations import Violations

    from runstream_registry.entities import Parent

MAX_NAME_LENGTH = 256
"""Characters of names that are ours alone, such as those of evaluations."""

MAX_MODEL_NAME_BYTES = 2_000
"""MLflow has no limit of its own; this is what an entry of the index of names surely holds."""

MAX_TEXT_LENGTH = 100_000
"""Characters of a description, of JSON and of a tag's value (MLflow `MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH`)."""

MAX_TAG_KEY_LENGTH = 250
MAX_TAGS = 10_000
MAX_PARENTS = 100
MAX_ALIAS_LENGTH = 255
MAX_URI_LENGTH = 10_000
MAX_ID_LENGTH = 256
MAX_RELATION_LENGTH = 250
MAX_SUMMARY_LENGTH = 8_000
MAX_VERSION = 2**31 - 1

_ALIAS = re.compile(r"[\w\-]+")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)


def model_name(name: str, violations: Violations, *, field: str = "name") -> None:
    """Note a name that MLflow refuses, or one that is too long for us."""
    if not name.strip():
        violations.add(field, "is required")
    elif any(sign in name for sign in "/:"):
        violations.add(field, "must not contain '/' or ':'")
    elif name in {".", ".."}:
        violations.add(field, "must not be '.' or '..'")
    elif len(name.encode()) > MAX_MODEL_NAME_BYTES:
        violations.add(field, f"has {len(name.encode())} bytes, at most {MAX_MODEL_NAME_BYTES} are allowed")
    else:
        text(field, name, MAX_MODEL_NAME_BYTES, violations)


def required_name(name: str, field: str = "name") -> str:
    """The name of something that should exist.

    Raises:
        InvalidArgument: it is missing or cannot be one.
    """
    if not name:
        raise InvalidArgument.of(field, "is required")
    if len(name.encode()) > MAX_MODEL_NAME_BYTES or "\0" in name:
        raise InvalidArgument.of(field, f"must be at most {MAX_MODEL_NAME_BYTES} bytes without NUL")
    return name


def text(field: str, value: str, limit: int, violations: Violations) -> None:
    """Note a text that is too long or cannot be stored."""
    if len(value) > limit:
        violations.add(field, f"has {len(value)} characters, at most {limit} are allowed")
    # PostgreSQL's text cannot hold it.
    if "\0" in value:
        violations.add(field, "must not contain the NUL character")


def tags(pairs: Sequence[tuple[str, str]], violations: Violations, *, field: str = "tags") -> dict[str, str]:
    """Tags in the order of their keys; the last value of a key wins (MLflow)."""
    if len(pairs) > MAX_TAGS:
        violations.add(field, f"has {len(pairs)} entries, at most {MAX_TAGS} are allowed")
    result: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        tag_key(f"{field}[{index}].key", key, violations)
        text(f"{field}[{index}].value", value, MAX_TEXT_LENGTH, violations)
        result[key] = value
    return dict(sorted(result.items()))


def tag_key(field: str, key: str, violations: Violations) -> None:
    """Note a key that is empty, too long or cannot be stored."""
    if not 1 <= len(key) <= MAX_TAG_KEY_LENGTH:
        violations.add(field, f"needs 1 to {MAX_TAG_KEY_LENGTH} characters")
    if "\0" in key:
        violations.add(field, "must not contain the NUL character")


def alias(name: str, *, field: str = "alias", reserved: bool = False) -> str:
    """An alias that has the form of one.

    Args:
        reserved: also accept "latest" and "v<digits>", which can be read but not set (MLflow).

    Raises:
        InvalidArgument: it is missing, has another form or is reserved.
    """
    if not name:
        raise InvalidArgument.of(field, "is required")
    if len(name) > MAX_ALIAS_LENGTH or _ALIAS.fullmatch(name) is None:
        raise InvalidArgument.of(
            field, f"may hold only letters, digits, '_' and '-', at most {MAX_ALIAS_LENGTH} of them"
        )
    if not reserved and _RESERVED_ALIAS.fullmatch(name):
        raise InvalidArgument.of(field, "'latest' and 'v' with a number are reserved")
    return name


def version_number(number: int, field: str = "version") -> int:
    """A number that a version can have.

    Raises:
        InvalidArgument: it is missing or negative.
    """
    if number < 1:
        raise InvalidArgument.of(field, "is required and must be 1 or more")
    return number


def version_id(text_id: str, violations: Violations, field: str = "version_id") -> None:
    """Note an id that the client chose in another form than 32 lowercase hexadecimal characters."""
    if text_id and not is_run_id(text_id):
        violations.add(field, "must be 32 lowercase hexadecimal characters")


def uuid_text(value: str, field: str) -> str:
    """An id that we made: a UUID, in its usual form with hyphens.

    Raises:
        InvalidArgument: it is missing or no UUID.
    """
    if not value:
        raise InvalidArgument.of(field, "is required")
    try:
        return str(UUID(value))
    except ValueError as error:
        raise InvalidArgument.of(field, "must be a UUID") from error


def json_object(field: str, value: str, violations: Violations) -> None:
    """Note a text that is neither empty nor a JSON object."""
    text(field, value, MAX_TEXT_LENGTH, violations)
    if not value:
        return
    try:
        decoded = json.loads(value)
    except ValueError as error:
        violations.add(field, f"is not JSON: {error}")
        return
    except RecursionError:
        violations.add(field, "is nested too deeply")
        return
    if not isinstance(decoded, dict):
        violations.add(field, "must be a JSON object")


def parents(items: Sequence[Parent], violations: Violations, field: str = "parents") -> None:
    """Note parents that name no version, or come twice."""
    if len(items) > MAX_PARENTS:
        violations.add(field, f"has {len(items)} entries, at most {MAX_PARENTS} are allowed")
    seen: set[tuple[str, int]] = set()
    for index, item in enumerate(items):
        model_name(item.name, violations, field=f"{field}[{index}].name")
        if item.version < 1:
            violations.add(f"{field}[{index}].version", "is required and must be 1 or more")
        text(f"{field}[{index}].relation", item.relation, MAX_RELATION_LENGTH, violations)
        if (item.name, item.version) in seen:
            violations.add(f"{field}[{index}]", "comes twice")
        seen.add((item.name, item.version))

"""What params, tags, names and ids may be: MLflow's rules, checked before anything is written.

Checks append to a list of violations, so that a request learns everything that is wrong with it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runstream_common.errors import InvalidArgument
from runstream_contract import limits
from runstream_contract.names import is_run_id, key_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runstream_common.violations import Violations

KeyValues = list[tuple[str, str]]

MAX_ID_DIGITS = 18
"""Digits of an experiment id that surely fit a bigint."""

MAX_EXPERIMENT_TAG_KEY_LENGTH = limits.MAX_KEY_LENGTH
MAX_INPUT_TAG_KEY_LENGTH = 255
"""Characters of the key of a tag on a dataset link (MLflow)."""

MAX_STATUS_REASON_LENGTH = 8_000
MIN_LEASE_MS = 5_000
MAX_LEASE_MS = 86_400_000

INT64_MAX = 2**63 - 1


def experiment_id(text: str, field: str = "experiment_id") -> int:
    """The number of an experiment.

    Raises:
        InvalidArgument: it is missing or not a decimal number.
    """
    if not text:
        raise InvalidArgument.of(field, "is required")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS):
        raise InvalidArgument.of(field, "must be a decimal number")
    return int(text)


def run_id(text: str, field: str = "run_id") -> str:
    """A run id that has the form of one.

    Raises:
        InvalidArgument: it is missing or has another form.
    """
    if not text:
        raise InvalidArgument.of(field, "is required")
    if not is_run_id(text):
        raise InvalidArgument.of(field, "must be 32 lowercase hexadecimal characters")
    return text


def run_ids(texts: Sequence[str], *, at_most: int, field: str = "run_ids") -> list[str]:
    """Several run ids, repeats removed, order kept.

    Raises:
        InvalidArgument: there is none, there are too many, or one has another form.
    """
    if not 1 <= len(texts) <= at_most:
        raise InvalidArgument.of(field, f"needs 1 to {at_most} ids, has {len(texts)}")
    return list(dict.fromkeys(run_id(text, f"{field}[{index}]") for index, text in enumerate(texts)))


def params(pairs: KeyValues, violations: Violations, *, field: str = "params") -> dict[str, str]:
    """Params with their values cut to length, in the order of keys: parallel writers lock in one order.

    A key that comes twice is refused, even with equal values (MLflow).
    """
    result: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        _check_key(f"{field}[{index}].key", key, violations)
        if key in result:
            violations.add(f"{field}[{index}].key", f"{key!r} comes twice")
        result[key] = value[: limits.MAX_PARAM_VALUE_LENGTH]
    return dict(sorted(result.items()))


def tags(pairs: KeyValues, violations: Violations, *, field: str = "tags") -> dict[str, str]:
    """Run tags with their values cut to length, in the order of keys; the last value of a key wins (MLflow)."""
    for index, (key, _) in enumerate(pairs):
        _check_key(f"{field}[{index}].key", key, violations)
    return _cut_tags(pairs)


def initial_tags(pairs: KeyValues, violations: Violations) -> dict[str, str]:
    """Tags of a new run: as ``tags``, but MLflow does not look at their keys, so any characters are fine."""
    for index, (key, _) in enumerate(pairs):
        if not 1 <= len(key) <= limits.MAX_KEY_LENGTH:
            violations.add(f"tags[{index}].key", f"needs 1 to {limits.MAX_KEY_LENGTH} characters")
    return _cut_tags(pairs)


def _cut_tags(pairs: KeyValues) -> dict[str, str]:
    return dict(sorted((key, value[: limits.MAX_TAG_VALUE_LENGTH]) for key, value in dict(pairs).items()))


def at_most(field: str, items: Sequence[object], limit: int, violations: Violations) -> None:
    """Note a list that is too long."""
    if len(items) > limit:
        violations.add(field, f"has {len(items)} entries, at most {limit} are allowed")


def experiment_tags(pairs: KeyValues, violations: Violations) -> dict[str, str]:
    """Experiment tags in the order of keys; any characters, too long values are refused and not cut (MLflow)."""
    result: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        if not 1 <= len(key) <= MAX_EXPERIMENT_TAG_KEY_LENGTH:
            violations.add(f"tags[{index}].key", f"needs 1 to {MAX_EXPERIMENT_TAG_KEY_LENGTH} characters")
        if len(value) > limits.MAX_EXPERIMENT_TAG_VALUE_LENGTH:
            violations.add(
                f"tags[{index}].value",
                f"has {len(value)} characters, at most {limits.MAX_EXPERIMENT_TAG_VALUE_LENGTH} are allowed",
            )
        result[key] = value
    return dict(sorted(result.items()))


def experiment_name(name: str, violations: Violations) -> None:
    """Note a name that is empty or too long; any characters are fine (MLflow)."""
    if not name:
        violations.add("name", "is required")
    elif len(name) > limits.MAX_EXPERIMENT_NAME_LENGTH:
        violations.add(
            "name", f"has {len(name)} characters, at most {limits.MAX_EXPERIMENT_NAME_LENGTH} are allowed"
        )


def artifact_location(location: str, violations: Violations) -> None:
    """Note a location that no path can be put into; a path goes before a query (MLflow refuses the same)."""
    if not location:
        return
    if any(sign in location for sign in "#;"):
        violations.add("artifact_location", "must have no fragment or parameters")
    elif ".." in location.partition("?")[2]:
        violations.add("artifact_location", "must have no '..' in its query")
    elif urlsplit(location).scheme in {"http", "https", "runs"}:
        violations.add("artifact_location", "must not be http, https or runs")


def lease_ms(value: int, violations: Violations) -> int | None:
    """The lease, or None for a run that has none."""
    if value == 0:
        return None
    if not MIN_LEASE_MS <= value <= MAX_LEASE_MS:
        violations.add("lease_ms", f"must be 0 or between {MIN_LEASE_MS} and {MAX_LEASE_MS} ms")
    return value


def time_ms(field: str, value: int, violations: Violations) -> None:
    """Note a time before the epoch."""
    if value < 0:
        violations.add(field, "must not be negative")


def input_tags(field: str, pairs: Iterable[tuple[str, str]], violations: Violations) -> dict[str, str]:
    """Tags of a dataset link in the order of keys."""
    result: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        if not 1 <= len(key) <= MAX_INPUT_TAG_KEY_LENGTH:
            violations.add(f"{field}[{index}].key", f"needs 1 to {MAX_INPUT_TAG_KEY_LENGTH} characters")
        if len(value) > limits.MAX_INPUT_TAG_VALUE_LENGTH:
            violations.add(
                f"{field}[{index}].value",
                f"has {len(value)} characters, at most {limits.MAX_INPUT_TAG_VALUE_LENGTH} are allowed",
            )
        result[key] = value
    return dict(sorted(result.items()))


def _check_key(field: str, key: str, violations: Violations) -> None:
    problem = key_problem(key)
    if problem is not None:
        violations.add(field, problem)

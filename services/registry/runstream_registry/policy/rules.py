"""Reads and checks the rules of a policy document, one function for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from runstream_registry.policy.conditions import ConditionError, parse_condition
from runstream_registry.policy.entities import (
    ApprovalRule,
    ArtifactRule,
    EvaluationRule,
    FreezeRule,
    MetricRule,
    Rule,
    SignatureRule,
    TagRule,
)
from runstream_registry.policy.windows import (
    OnceWindow,
    WeeklyWindow,
    Window,
    WindowError,
    parse_moment,
    parse_weekly,
    parse_zone,
)

T = TypeVar("T")

MAX_APPROVALS: Final = 100
MAX_PATHS: Final = 100
MAX_PATH_LENGTH: Final = 1_024
MAX_TAG_KEY_LENGTH: Final = 250
MAX_TEXT_LENGTH: Final = 8_000
MAX_AGE_HOURS: Final = 24 * 366 * 10

Roles: TypeAlias = Mapping[str, frozenset[str]]


class Problems:
    """Collects breaches as (path, description)."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, path: str, description: str) -> None:
        """Note one breach."""
        self.found.append((path, description))


RuleReader: TypeAlias = Callable[[Mapping[str, Any], Roles, str, Problems], Rule | None]
"""Takes a rule's fields, the policy's roles, the rule's path and where to note breaches."""


def _metric(fields: Mapping[str, Any], _roles: Roles, path: str, problems: Problems) -> Rule | None:
    try:
        return MetricRule(parse_condition(str(fields.get("condition", ""))))
    except ConditionError as error:
        problems.add(f"{path}.condition", str(error))
        return None


def _tag(fields: Mapping[str, Any], _roles: Roles, path: str, problems: Problems) -> Rule | None:
    key, value = str(fields.get("key", "")), str(fields.get("value", ""))
    if not 1 <= len(key) <= MAX_TAG_KEY_LENGTH:
        problems.add(f"{path}.key", f"needs 1 to {MAX_TAG_KEY_LENGTH} characters")
    if len(value) > MAX_TEXT_LENGTH:
        problems.add(f"{path}.value", f"has more than {MAX_TEXT_LENGTH} characters")
    return TagRule(key, value)


def _signature(_fields: Mapping[str, Any], _roles: Roles, _path: str, _problems: Problems) -> Rule | None:
    return SignatureRule()


def _artifacts(fields: Mapping[str, Any], _roles: Roles, path: str, problems: Problems) -> Rule | None:
    paths = tuple(str(item) for item in fields.get("paths", ()))
    if len(paths) > MAX_PATHS:
        problems.add(f"{path}.paths", f"has {len(paths)} entries, at most {MAX_PATHS} are allowed")
    for index, item in enumerate(paths):
        names = item.split("/")
        if (
            not 1 <= len(item) <= MAX_PATH_LENGTH
            or "\0" in item
            or any(name in {"", ".", ".."} for name in names)
        ):
            problems.add(f"{path}.paths[{index}]", 'must be a relative path, e.g. "model/MLmodel"')
    return ArtifactRule(paths, bool(fields.get("verify_checksums", False)))


def _evaluation(fields: Mapping[str, Any], _roles: Roles, path: str, problems: Problems) -> Rule | None:
    name, hours = str(fields.get("evaluation", "")), int(fields.get("max_age_hours", 0))
    if not 1 <= len(name) <= MAX_TAG_KEY_LENGTH:
        problems.add(f"{path}.evaluation", f"needs 1 to {MAX_TAG_KEY_LENGTH} characters")
    if not 0 <= hours <= MAX_AGE_HOURS:
        problems.add(f"{path}.max_age_hours", f"must be 0 to {MAX_AGE_HOURS}")
    return EvaluationRule(name, hours)


def _approvals(fields: Mapping[str, Any], roles: Roles, path: str, problems: Problems) -> Rule | None:
    count, names = int(fields.get("count", 0)), tuple(str(item) for item in fields.get("roles", ()))
    for index, name in enumerate(names):
        if name not in roles:
            problems.add(f"{path}.roles[{index}]", f"the policy has no role {name!r}")
    people = frozenset[str]().union(*(roles.get(name, frozenset()) for name in names or roles))
    if not 1 <= count <= MAX_APPROVALS:
        problems.add(f"{path}.count", f"must be 1 to {MAX_APPROVALS}")
    elif len(people) < count:
        problems.add(f"{path}.count", f"{count} people must approve, but the roles have only {len(people)}")
    return ApprovalRule(count, names, bool(fields.get("allow_requester", False)))


def _freeze(fields: Mapping[str, Any], _roles: Roles, path: str, problems: Problems) -> Rule | None:
    reason = str(fields.get("reason", ""))
    if len(reason) > MAX_TEXT_LENGTH:
        problems.add(f"{path}.reason", f"has more than {MAX_TEXT_LENGTH} characters")
    once = any(fields.get(name) for name in ("start", "end"))
    weekly = any(fields.get(name) for name in ("weekly_start", "weekly_end", "time_zone"))
    if once == weekly:
        problems.add(path, "needs either start and end, or weekly_start and weekly_end")
        return None
    window = _once_window(fields, path, problems) if once else _weekly_window(fields, path, problems)
    return None if window is None else FreezeRule(window, reason)


def _once_window(fields: Mapping[str, Any], path: str, problems: Problems) -> Window | None:
    start = _parsed(parse_moment, fields, "start", path, problems)
    end = _parsed(parse_moment, fields, "end", path, problems)
    if start is None or end is None:
        return None
    if start >= end:
        problems.add(f"{path}.end", "must come after start")
        return None
    return OnceWindow(start, end)


def _weekly_window(fields: Mapping[str, Any], path: str, problems: Problems) -> Window | None:
    start = _parsed(parse_weekly, fields, "weekly_start", path, problems)
    end = _parsed(parse_weekly, fields, "weekly_end", path, problems)
    zone = _parsed(parse_zone, fields, "time_zone", path, problems)
    if start is None or end is None or zone is None:
        return None
    if start == end:
        problems.add(f"{path}.weekly_end", "must differ from weekly_start")
        return None
    return WeeklyWindow(start, end, zone)


def _parsed(
    parse: Callable[[str], T], fields: Mapping[str, Any], name: str, path: str, problems: Problems
) -> T | None:
    try:
        return parse(str(fields.get(name, "")))
    except WindowError as error:
        problems.add(f"{path}.{name}", str(error))
        return None


RULE_READERS: Final[dict[str, RuleReader]] = {
    "metric": _metric,
    "tag": _tag,
    "signature": _signature,
    "artifacts": _artifacts,
    "evaluation": _evaluation,
    "approvals": _approvals,
    "freeze": _freeze,
}

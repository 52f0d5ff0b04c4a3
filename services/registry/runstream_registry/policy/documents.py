"""Reads and checks policy documents; every breach is found at once and named by its path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runstream_common.errors import FieldViolation, InvalidArgument

from runstream_registry.policy.entities import DEFAULT_REQUEST_HOURS, PolicyDocument
from runstream_registry.policy.rules import RULE_READERS, Problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_registry.policy.entities import Rule

MAX_RULES: Final = 100
MAX_ROLES: Final = 100
MAX_MEMBERS: Final = 1_000
MAX_GLOB_LENGTH: Final = 256
MAX_DESCRIPTION_LENGTH: Final = 8_000
MAX_REQUEST_HOURS: Final = 24 * 366
MAX_NAME_LENGTH: Final = 250


def read_document(fields: Mapping[str, Any], *, path: str = "document") -> PolicyDocument:
    """A document from its fields under the names of the .proto; absent fields have their default.

    Args:
        path: what the paths of breaches begin with.

    Raises:
        InvalidArgument: with every breach.
    """
    problems = Problems()
    roles = _roles(fields.get("roles", ()), f"{path}.roles", problems)
    document = PolicyDocument(
        models=_glob(fields, "models", path, problems),
        targets=_targets(fields, path, problems),
        rules=_rules(fields.get("rules", ()), roles, f"{path}.rules", problems),
        roles=roles,
        request_hours=_request_hours(fields, path, problems),
    )
    if len(fields.get("description", "")) > MAX_DESCRIPTION_LENGTH:
        problems.add(f"{path}.description", f"has more than {MAX_DESCRIPTION_LENGTH} characters")
    if problems.found:
        raise InvalidArgument([FieldViolation(*found) for found in problems.found])
    return document


def _glob(fields: Mapping[str, Any], name: str, path: str, problems: Problems) -> str:
    glob = str(fields.get(name, ""))
    if not glob:
        problems.add(f"{path}.{name}", 'is required; "*" means all')
    elif len(glob) > MAX_GLOB_LENGTH:
        problems.add(f"{path}.{name}", f"has more than {MAX_GLOB_LENGTH} characters")
    elif "\0" in glob:
        problems.add(f"{path}.{name}", "has a NUL character")
    return glob


def _targets(fields: Mapping[str, Any], path: str, problems: Problems) -> str:
    glob = _glob(fields, "targets", path, problems)
    # A glob that matches nothing would be a gate that stands open without anybody noticing.
    if glob and not (glob.startswith(("alias/", "stage/", "*", "?", "["))):
        problems.add(f"{path}.targets", 'must begin with "alias/", "stage/" or a wildcard')
    if glob.startswith("stage/") and glob.lower() in _STAGES and glob not in _STAGES.values():
        problems.add(f"{path}.targets", f"stages are written as in {_STAGES[glob.lower()]!r}")
    return glob


_STAGES: Final = {
    f"stage/{stage.lower()}": f"stage/{stage}" for stage in ("None", "Staging", "Production", "Archived")
}


def _request_hours(fields: Mapping[str, Any], path: str, problems: Problems) -> int:
    hours = int(fields.get("request_hours", 0))
    if not 0 <= hours <= MAX_REQUEST_HOURS:
        problems.add(f"{path}.request_hours", f"must be 0 to {MAX_REQUEST_HOURS}")
    return hours or DEFAULT_REQUEST_HOURS


def _roles(items: Sequence[Mapping[str, Any]], path: str, problems: Problems) -> dict[str, frozenset[str]]:
    if len(items) > MAX_ROLES:
        problems.add(path, f"has {len(items)} entries, at most {MAX_ROLES} are allowed")
        return {}
    roles: dict[str, frozenset[str]] = {}
    for index, item in enumerate(items):
        name, members = str(item.get("name", "")), item.get("members", ())
        if not is_plain_name(name):
            problems.add(f"{path}[{index}].name", NAME_RULE)
        if name in roles:
            problems.add(f"{path}[{index}].name", f"{name!r} comes twice")
        if len(members) > MAX_MEMBERS:
            problems.add(f"{path}[{index}].members", f"has more than {MAX_MEMBERS} entries")
        for place, member in enumerate(members):
            if not 1 <= len(member.strip()) <= MAX_NAME_LENGTH:
                problems.add(f"{path}[{index}].members[{place}]", f"needs 1 to {MAX_NAME_LENGTH} characters")
        roles[name] = frozenset(members)
    return roles


NAME_RULE: Final = f'must be letters, digits, "_", "-" and ".", 1 to {MAX_NAME_LENGTH}'


def is_plain_name(name: str) -> bool:
    """Whether it may be the name of a policy or role."""
    return (
        1 <= len(name) <= MAX_NAME_LENGTH
        and name.isascii()
        and all(char.isalnum() or char in "_-." for char in name)
    )


def _rules(
    items: Sequence[Mapping[str, Any]], roles: Mapping[str, frozenset[str]], path: str, problems: Problems
) -> tuple[Rule, ...]:
    if not 1 <= len(items) <= MAX_RULES:
        problems.add(path, f"needs 1 to {MAX_RULES} rules, has {len(items)}")
        return ()
    rules: list[Rule] = []
    for index, item in enumerate(items):
        kinds = [kind for kind in RULE_READERS if kind in item]
        if len(kinds) != 1:
            problems.add(f"{path}[{index}]", f"needs exactly one of {', '.join(RULE_READERS)}")
            continue
        (kind,) = kinds
        rule = RULE_READERS[kind](item[kind], roles, f"{path}[{index}].{kind}", problems)
        if rule is not None:
            rules.append(rule)
    return tuple(rules)

"""Tags that the version must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import TagRule

SHOWN_CHARACTERS = 100


def words(rule: TagRule) -> str:
    """The rule in words."""
    return f"tag {rule.key} = {rule.value!r}" if rule.value else f"tag {rule.key}"


def judge(rule: TagRule, case: Case) -> Verdict:
    """Look for the tag and its value."""
    whose = f"version {case.version.version}"
    if rule.key not in case.version.tags:
        return Verdict(passed=False, detail=f"{whose} has no tag {rule.key!r}")
    value = case.version.tags[rule.key]
    return Verdict(not rule.value or value == rule.value, f"{rule.key} is {value[:SHOWN_CHARACTERS]!r}")

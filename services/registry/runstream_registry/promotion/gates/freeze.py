"""Times in which nothing is promoted. A rollback is never held up by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.policy.windows import moment_of
from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import FreezeRule


def words(rule: FreezeRule) -> str:
    """The rule in words."""
    return f"no promotions {rule.window}"


def judge(rule: FreezeRule, case: Case) -> Verdict:
    """Look whether the window is open now."""
    if case.rollback:
        return Verdict(passed=True, detail="does not hold for a rollback")
    now = moment_of(case.now_ms)
    frozen = rule.window.contains(now)
    why = f": {rule.reason}" if frozen and rule.reason else ""
    where = "lies in the window" if frozen else "lies outside"
    return Verdict(not frozen, f"{now.isoformat(timespec='seconds')} {where}{why}")

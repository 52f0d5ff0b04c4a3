"""Evaluations that must have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import EvaluationRule

MS_PER_HOUR = 3_600_000


def words(rule: EvaluationRule) -> str:
    """The rule in words."""
    age = f", not older than {rule.max_age_hours} hours" if rule.max_age_hours else ""
    return f"evaluation {rule.evaluation} passed{age}"


def judge(rule: EvaluationRule, case: Case) -> Verdict:
    """Look at the last outcome of the evaluation; earlier ones do not count."""
    fact = case.version.evaluations.get(rule.evaluation)
    if fact is None:
        return Verdict(
            passed=False, detail=f"version {case.version.version} has no outcome of {rule.evaluation!r}"
        )
    hours = max(case.now_ms - fact.time_ms, 0) / MS_PER_HOUR
    outcome = f"it {'passed' if fact.passed else 'failed'} {hours:.1f} hours ago"
    if fact.summary:
        outcome += f": {fact.summary[:200]}"
    return Verdict(fact.passed and not 0 < rule.max_age_hours < hours, outcome)

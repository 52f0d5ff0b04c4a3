"""Conditions on metrics of the source run. What cannot be resolved is denied; so is NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from decimal import Decimal

    from runstream_registry.policy.entities import MetricRule


def words(rule: MetricRule) -> str:
    """The rule in words."""
    return rule.condition.text


def judge(rule: MetricRule, case: Case) -> Verdict:
    """Compare the metric with its bound, which may depend on the version that the target holds now."""
    condition = rule.condition
    value = _metric(case, case.version.run_id, condition.key, f"version {case.version.version}")
    if isinstance(value, str):
        return Verdict(passed=False, detail=value)
    own = f"{condition.key} is {_number(value)}"
    if math.isnan(value):
        return Verdict(passed=False, detail=f"{own}, which meets no condition")
    if condition.relative:
        return _against_current(rule, case, value, own)
    return Verdict(condition.holds(value), own)


def _against_current(rule: MetricRule, case: Case, value: float, own: str) -> Verdict:
    condition = rule.condition
    if case.rollback:
        # What went before is often worse by this very metric; whoever rolls back has found that it does not tell all.
        return Verdict(passed=True, detail=f"{own}; a rollback is not compared with the version it replaces")
    if case.current_version == 0:
        return Verdict(passed=True, detail=f"{own}; the target holds no version to compare with")
    current = _metric(case, case.current_run_id, condition.key, f"version {case.current_version}")
    if isinstance(current, str):
        return Verdict(passed=False, detail=f"{own}, but {current}")
    bound = condition.bound_value(current)
    detail = (
        f"{own}, version {case.current_version} has {_number(current)}, so that the bound is {_bound(bound)}"
    )
    return Verdict(condition.holds(value, current), detail)


def _metric(case: Case, run_id: str, key: str, whose: str) -> float | str:
    """The metric, or in words why there is none."""
    if not run_id:
        return f"{whose} has no source run"
    run = case.evidence.runs.get(run_id)
    if run is None:
        return f"the source run {run_id} of {whose} is not known"
    if key not in run.metrics:
        return f"the source run {run_id} of {whose} has no metric {key!r}"
    return run.metrics[key]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _bound(value: Decimal) -> str:
    return _number(float(value)) if value.is_finite() else str(value)

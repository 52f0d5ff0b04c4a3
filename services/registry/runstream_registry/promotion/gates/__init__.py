"""Gates: every rule of every policy that applies is judged, and all must be met.

Pure functions over facts: the same code decides a promotion inside its transaction and explains a dry run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from runstream_registry.policy.entities import (
    ApprovalRule,
    ArtifactRule,
    EvaluationRule,
    FreezeRule,
    MetricRule,
    SignatureRule,
    TagRule,
)
from runstream_registry.promotion.gates import (
    approvals,
    artifacts,
    evaluation,
    freeze,
    metric,
    signature,
    tag,
)
from runstream_registry.promotion.gates.case import Case, Evidence, Verdict
from runstream_registry.promotion_entities import RuleOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_registry.policy.entities import Policy, PolicyDocument, Rule

__all__ = ["APPROVALS", "Case", "Evidence", "Verdict", "judge_all"]

APPROVALS = "approvals"
"""Kind of the rules that a request for approval is there to meet."""


def judge_all(policies: Sequence[Policy], case: Case) -> list[RuleOutcome]:
    """The outcome of every rule, in the order of policies and rules."""
    return [_outcome(policy, rule, case) for policy in policies for rule in policy.document.rules]


def _outcome(policy: Policy, rule: Rule, case: Case) -> RuleOutcome:
    kind, words, verdict = _judged(rule, policy.document, case)
    return RuleOutcome(policy.name, policy.revision, kind, words, verdict.passed, verdict.detail)


def _judged(  # noqa: PLR0911 - one for each kind
    rule: Rule, document: PolicyDocument, case: Case
) -> tuple[str, str, Verdict]:
    match rule:
        case MetricRule():
            return "metric", metric.words(rule), metric.judge(rule, case)
        case TagRule():
            return "tag", tag.words(rule), tag.judge(rule, case)
        case SignatureRule():
            return "signature", signature.words(rule), signature.judge(rule, case)
        case ArtifactRule():
            return "artifacts", artifacts.words(rule), artifacts.judge(rule, case)
        case EvaluationRule():
            return "evaluation", evaluation.words(rule), evaluation.judge(rule, case)
        case ApprovalRule():
            return APPROVALS, approvals.words(rule), approvals.judge(rule, document, case)
        case FreezeRule():
            return "freeze", freeze.words(rule), freeze.judge(rule, case)
        case _:
            assert_never(rule)

"""Who may decide on a request, and how many approvals it still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.policy.entities import ApprovalRule
from runstream_registry.promotion.gates import approvals
from runstream_registry.promotion_errors import NotAnApprover

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runstream_registry.policy.entities import Policy, PolicyDocument
    from runstream_registry.promotion_entities import Decision, Request


def request_hours(policies: Sequence[Policy]) -> int | None:
    """How long a request stays open: the shortest time of the policies that want approvals; None when none does."""
    hours = [
        policy.document.request_hours
        for policy in policies
        if any(isinstance(rule, ApprovalRule) for rule in policy.document.rules)
    ]
    return min(hours, default=None)


def missing_approvals(policies: Sequence[Policy], request: Request) -> int:
    """How many more people are needed at least; 0 when every rule about approvals is met."""
    counts = [
        rule.count - len(approvals.approvers(rule, document, request))
        for document, rule in _approval_rules(policies, request)
    ]
    return max([0, *counts])


def check_decision(policies: Sequence[Policy], request: Request, decision: Decision) -> None:
    """Refuse a decision that does not count.

    An approval must count for one of the rules. Who could approve may reject, and who asked may withdraw.

    Raises:
        NotAnApprover: it does not.
    """
    rules = list(_approval_rules(policies, request))
    if not rules and decision.approved:
        raise NotAnApprover(
            f"no policy wants approvals for {request.target} any more; promote the version directly"
        )
    if not decision.approved and decision.actor == request.actor:
        return
    if not any(
        approvals.counts(rule, document, request, decision.actor, decision.role) for document, rule in rules
    ):
        raise NotAnApprover(_why_not(rules, request, decision))


def _why_not(
    rules: Sequence[tuple[PolicyDocument, ApprovalRule]], request: Request, decision: Decision
) -> str:
    if decision.actor == request.actor:
        return f"{decision.actor} has asked for this promotion and may not approve it"
    names = {name for document, rule in rules for name in rule.roles or document.roles}
    roles = ", ".join(sorted(names))
    if decision.role:
        return f"{decision.actor} does not have the role {decision.role!r}, or it does not count here; roles: {roles}"
    return f"{decision.actor} has none of the roles {roles}"


def _approval_rules(
    policies: Sequence[Policy], request: Request
) -> Iterator[tuple[PolicyDocument, ApprovalRule]]:
    for policy in policies:
        if policy.document.applies_to(request.name, request.target.path):
            for rule in policy.document.rules:
                if isinstance(rule, ApprovalRule):
                    yield policy.document, rule

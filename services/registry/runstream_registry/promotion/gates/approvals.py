"""People who must have approved, judged by the roles of the policy as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.promotion.gates.case import Case, Verdict

if TYPE_CHECKING:
    from runstream_registry.policy.entities import ApprovalRule, PolicyDocument
    from runstream_registry.promotion_entities import Request


def words(rule: ApprovalRule) -> str:
    """The rule in words."""
    roles = " or ".join(rule.roles) if rule.roles else "any role"
    return f"{rule.count} approval{'s' if rule.count > 1 else ''} by {roles}"


def judge(rule: ApprovalRule, document: PolicyDocument, case: Case) -> Verdict:
    """Count the people who approved the request."""
    if case.request is None:
        hint = "; ask for them with a promotion request" if not case.rollback else ""
        return Verdict(passed=False, detail=f"0 of {rule.count} approvals{hint}")
    people = approvers(rule, document, case.request)
    names = f" ({', '.join(people)})" if people else ""
    return Verdict(len(people) >= rule.count, f"{len(people)} of {rule.count} approvals{names}")


def approvers(rule: ApprovalRule, document: PolicyDocument, request: Request) -> list[str]:
    """The people whose approval of the request counts for the rule, each once."""
    return sorted(
        {
            decision.actor
            for decision in request.decisions
            if decision.approved and counts(rule, document, request, decision.actor, decision.role)
        }
    )


def counts(rule: ApprovalRule, document: PolicyDocument, request: Request, actor: str, role: str) -> bool:
    """Whether an approval by the actor would count.

    Args:
        role: in which the actor speaks; empty means any.
    """
    if actor == request.actor and not rule.allow_requester:
        return False
    roles = document.roles_of(actor, rule.roles)
    return role in roles if role else bool(roles)

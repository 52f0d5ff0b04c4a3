"""Refusals around promotions, with the reasons that clients key on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_registry.promotion_entities import Request, RuleOutcome, Target

MAX_METADATA_VALUE_CHARACTERS = 120


class PromotionRefused(FailedPrecondition):
    """At least one rule is not met. The message names every failed rule, the metadata as many as fit a header."""

    default_reason = "PROMOTION_REFUSED"

    def __init__(self, name: str, version: int, target: Target, rules: Sequence[RuleOutcome]) -> None:
        failed = [rule for rule in rules if not rule.passed]
        reasons = "; ".join(f"{rule.rule} ({rule.policy} r{rule.revision}): {rule.detail}" for rule in failed)
        super().__init__(
            f"{name} version {version} is not promoted to {target}: {reasons}",
            metadata={
                "failed_count": str(len(failed)),
                "rule_count": str(len(rules)),
                **{f"failed_{index}": _short(rule) for index, rule in enumerate(failed, start=1)},
            },
        )


def _short(rule: RuleOutcome) -> str:
    return f"{rule.policy}/{rule.kind}: {rule.rule}"[:MAX_METADATA_VALUE_CHARACTERS]


class CurrentVersionChanged(Aborted):
    """The target holds another version than the caller expects."""

    default_reason = "CURRENT_VERSION_CHANGED"

    def __init__(self, name: str, target: Target, *, expected: int, current: int) -> None:
        super().__init__(
            f"{target} of {name} holds {_version(current)}, not {_version(expected)} as expected",
            metadata={"current_version": str(current), "expected_version": str(expected)},
        )


class TooManyChanges(Aborted):
    """The facts changed again and again while the rules were judged."""

    default_reason = "CONCURRENT_CHANGE"

    def __init__(self, name: str, target: Target) -> None:
        super().__init__(f"{target} of {name} kept changing while the rules were judged; try again")


class VersionNotReady(FailedPrecondition):
    """The version cannot be used yet, or ever."""

    default_reason = "VERSION_NOT_READY"

    def __init__(self, name: str, version: int, status: str) -> None:
        super().__init__(
            f"{name} version {version} is {status}; only READY versions are promoted",
            metadata={"status": status},
        )


class NoPreviousVersion(FailedPrecondition):
    """There is nothing that the target could be rolled back to."""

    default_reason = "NO_PREVIOUS_VERSION"

    def __init__(self, name: str, target: Target) -> None:
        super().__init__(f"{target} of {name} held no other version that is still there")


class PolicyNotFound(NotFound):
    """There is no such policy or revision."""

    default_reason = "POLICY_NOT_FOUND"

    def __init__(self, name: str, revision: int = 0) -> None:
        which = f" revision {revision}" if revision else ""
        super().__init__(f"policy {name!r}{which} does not exist", metadata={"policy": name[:250]})


class TooManyPolicies(FailedPrecondition):
    """There are as many policies in force as there may be."""

    default_reason = "TOO_MANY_POLICIES"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"there are {limit} policies in force already, which is the most", metadata={"limit": str(limit)}
        )


class PolicyChanged(Aborted):
    """Another revision is in force than the caller expects."""

    default_reason = "POLICY_CHANGED"

    def __init__(self, name: str, *, expected: int, current: int) -> None:
        super().__init__(
            f"policy {name!r} is at revision {current}, not {expected} as expected",
            metadata={"current_revision": str(current), "expected_revision": str(expected)},
        )


class RequestNotFound(NotFound):
    """There is no such request."""

    default_reason = "REQUEST_NOT_FOUND"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request {request_id} does not exist", metadata={"request_id": request_id})


class RequestNotOpen(FailedPrecondition):
    """The request was carried out, rejected or has expired."""

    default_reason = "REQUEST_NOT_OPEN"

    def __init__(self, request: Request, state: str) -> None:
        super().__init__(
            f"request {request.request_id} is {state.lower()}",
            metadata={"request_id": request.request_id, "state": state},
        )


class RequestExists(AlreadyExists):
    """Somebody asked for the same promotion, and that request is open."""

    default_reason = "REQUEST_EXISTS"

    def __init__(self, request: Request) -> None:
        super().__init__(
            f"{request.actor} has asked for the same promotion in request {request.request_id}",
            metadata={"request_id": request.request_id},
        )


class AlreadyThere(FailedPrecondition):
    """The target holds the version."""

    default_reason = "ALREADY_PROMOTED"

    def __init__(self, name: str, version: int, target: Target) -> None:
        super().__init__(f"{target} of {name} holds version {version} already")


class NoApprovalNeeded(FailedPrecondition):
    """No policy wants approvals of this promotion."""

    default_reason = "NO_APPROVAL_NEEDED"

    def __init__(self, name: str, target: Target) -> None:
        super().__init__(f"no policy wants approvals for {target} of {name}; promote the version directly")


class AlreadyDecided(AlreadyExists):
    """The person has decided before."""

    default_reason = "ALREADY_DECIDED"

    def __init__(self, request_id: str, actor: str) -> None:
        super().__init__(f"{actor} has decided on request {request_id} before")


class NotAnApprover(PermissionDenied):
    """The word of this person, or in this role, does not count."""

    default_reason = "NOT_AN_APPROVER"


class ChainNotFound(NotFound):
    """The audit trail has no such chain."""

    default_reason = "CHAIN_NOT_FOUND"

    def __init__(self, chain: str) -> None:
        super().__init__(f"the audit trail has no chain {chain!r}", metadata={"chain": chain[:250]})


def _version(version: int) -> str:
    return f"version {version}" if version else "no version"

"""Promotions, policies, requests for approval and the audit trail, as the client returns them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from runstream_common.errors import FailedPrecondition

from runstream.query.notebook import table_html
from runstream.registry.shapes import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

PROMOTION_REFUSED = "PROMOTION_REFUSED"


@dataclass(frozen=True, slots=True)
class RuleOutcome(Result):
    """What became of one rule of a policy.

    Attributes:
        kind: "metric", "tag", "signature", "artifacts", "evaluation", "approvals" or "freeze".
        rule: the rule in words, e.g. "accuracy >= current + 0.01".
        detail: why, with the numbers.
    """

    policy: str
    revision: int
    kind: str
    rule: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        mark = "✓" if self.passed else "✗"
        detail = f": {self.detail}" if self.detail else ""
        return f"{mark} {self.rule}{detail} (policy {self.policy}, revision {self.revision})"


class PromotionRefused(FailedPrecondition):
    """A rule of a policy is not met, so nothing was promoted.

    Attributes:
        rules: every rule that applied, with its outcome; empty when the service could not be asked for them.
    """

    default_reason = PROMOTION_REFUSED

    def __init__(
        self, message: str, *, rules: Sequence[RuleOutcome] = (), metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.rules = tuple(rules)

    @property
    def headline(self) -> str:
        """The message without the failed rules, which `rules` tells too."""
        return self.message.partition(": ")[0] if self.rules else self.message

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  {rule}" for rule in self.rules)])


@dataclass(frozen=True, slots=True)
class Promotion(Result):
    """One promotion that was made.

    Attributes:
        promotion_id: UUID; also the event's id.
        sequence: 1, 2, 3… within the model, without gaps.
        previous_version: version that was there before; 0 for none.
        target_kind: "alias" or "stage".
        target: alias or stage.
        request_id: request for approval that it carried out; may be empty.
        rules: outcomes of the rules when it was made.
        metrics: latest metrics of the source run when it was made.
    """

    promotion_id: str
    name: str
    sequence: int
    version: int
    previous_version: int
    target_kind: str
    target: str
    rollback: bool
    actor: str
    reason: str
    time: datetime
    request_id: str
    rules: tuple[RuleOutcome, ...]
    metrics: Mapping[str, float]
    run_id: str
    git_commit: str
    artifact_uri: str
    artifact_digest: str


@dataclass(frozen=True, slots=True)
class PromotionOutcome(Result):
    """What a promotion or rollback did, or would do.

    Attributes:
        promotion: None for a dry run and when the version was there already.
        rules: every rule that applies, with its outcome.
        allowed: whether every rule is met.
        version: version that the target is promoted or rolled back to.
        previous_version: version that the target held, 0 for none; None when a rollback's dry run does not tell it.
    """

    promotion: Promotion | None
    rules: tuple[RuleOutcome, ...]
    allowed: bool
    version: int
    previous_version: int | None

    def _repr_html_(self) -> str:
        head = ["", "rule", "detail", "policy"]
        rows = [("✓" if r.passed else "✗", r.rule, r.detail, f"{r.policy} {r.revision}") for r in self.rules]
        made = self.promotion
        where = f"{escape(made.name)} {made.target_kind}/{escape(made.target)}: " if made else ""
        done = "promoted" if made else "allowed" if self.allowed else "refused"
        return f"<div>{where}version {self.version} {done}{table_html(head, rows) if rows else ''}</div>"


@dataclass(frozen=True, slots=True)
class Policy(Result):
    """A policy in one of its revisions.

    Attributes:
        document: what it says, with the field names of its file (docs/promotion.md).
        actor: who stored this revision.
        deleted: whether it was taken out of force with this revision.
    """

    name: str
    revision: int
    document: Mapping[str, Any]
    actor: str
    time: datetime
    deleted: bool


@dataclass(frozen=True, slots=True)
class Decision(Result):
    """One person's word on a request."""

    actor: str
    role: str
    approved: bool
    comment: str
    time: datetime


@dataclass(frozen=True, slots=True)
class PromotionRequest(Result):
    """A request for approval of a promotion.

    Attributes:
        expected_current: version that the target must hold; None means any.
        actor: who asked.
        state: "PENDING", "APPROVED", "EXECUTED", "REJECTED" or "EXPIRED".
        promotion_sequence: promotion that carried it out; 0 when none did.
        last_error: why it was not carried out, although approved; else empty.
    """

    request_id: str
    name: str
    version: int
    target_kind: str
    target: str
    reason: str
    expected_current: int | None
    actor: str
    state: str
    decisions: tuple[Decision, ...]
    creation_time: datetime
    expire_time: datetime
    promotion_sequence: int
    last_error: str
    missing_approvals: int


@dataclass(frozen=True, slots=True)
class DecisionOutcome(Result):
    """What a decision led to; `promotion` is None unless it completed the request."""

    request: PromotionRequest
    promotion: Promotion | None


@dataclass(frozen=True, slots=True)
class AuditEntry(Result):
    """One change, as it was recorded with the change.

    Attributes:
        chain: "model/<model id>", "policies" or "webhooks".
        sequence: 1, 2, 3… within the chain, without gaps.
        action: e.g. "version.created" or "alias.promoted".
        subject: name of the model, policy or webhook at that time.
        version: 0 when it does not concern one.
        before_json: state before, as it was hashed; empty when there was none.
        after_json: state after, as it was hashed; empty when there is none.
        hash: SHA-256 over the entry before and this one, 64 lowercase hexadecimal characters.
    """

    chain: str
    sequence: int
    time: datetime
    actor: str
    action: str
    subject: str
    version: int
    reason: str
    before_json: str
    after_json: str
    hash: str

    @property
    def before(self) -> Any:
        """State before; None when there was none."""
        return json.loads(self.before_json) if self.before_json else None

    @property
    def after(self) -> Any:
        """State after; None when there is none."""
        return json.loads(self.after_json) if self.after_json else None


@dataclass(frozen=True, slots=True)
class AuditProblem(Result):
    """Something in a chain that does not add up; `sequence` is the first entry that is wrong or missing."""

    chain: str
    sequence: int
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport(Result):
    """Outcome of recomputing the audit trail's hash chains.

    Attributes:
        problems: at most one a chain and 1,000 in all; empty means that all is well.
        heads_digest: SHA-256 over the heads of all chains, to be kept elsewhere and compared later.
    """

    chain_count: int
    entry_count: int
    problems: tuple[AuditProblem, ...]
    heads_digest: str

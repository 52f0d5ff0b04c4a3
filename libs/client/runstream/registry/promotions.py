"""The part of `client.models` about promotions, policies, requests for approval and the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.query.client_calls import DEFAULT_WAIT_SECONDS
from runstream.query.client_sending import Namespace
from runstream.registry import flows_policies, flows_promotions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runstream.query.client_calls import WaitFor
    from runstream.registry.results_promotions import (
        AuditEntry,
        AuditReport,
        DecisionOutcome,
        Policy,
        Promotion,
        PromotionOutcome,
        PromotionRequest,
    )


class Promotions(Namespace):
    """Promotions of versions to aliases and stages, and what gates and records them."""

    def promote(
        self,
        name: str,
        version: int | str,
        *,
        alias: str = "",
        stage: str = "",
        reason: str = "",
        expected_current: int | None = None,
        dry_run: bool = False,
        archive_existing: bool = False,
        request_id: str = "",
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> PromotionOutcome:
        """Move an alias or stage to a version, if every rule of the policies that apply is met.

        Before the rules are checked, what this process (or `wait_for`) logged to the source run is waited for.

        Args:
            name: model.
            version: number, "3", "@alias" or "latest".
            alias: alias to move; or
            stage: stage to move it to.
            reason: why; goes into the audit trail and the event.
            expected_current: version that the target must hold now, 0 for none; None means any.
            dry_run: check the rules and change nothing.
            archive_existing: stage only: archive the other versions of the stage.
            request_id: approved request that this carries out.
            wait_for: see `Client`.
            wait_seconds: longest wait.

        Raises:
            PromotionRefused: a rule is not met; `.rules` has the outcomes. Not for a dry run.
            Aborted: the target holds another version than expected (CURRENT_VERSION_CHANGED).
        """
        wait = self._wait(wait_for, wait_seconds)
        return self._run(
            flows_promotions.promote(
                name,
                version,
                alias,
                stage,
                reason=reason,
                expected_current=expected_current,
                dry_run=dry_run,
                archive_existing=archive_existing,
                request_id=request_id,
                wait=wait,
            )
        )

    def rollback(
        self,
        name: str,
        *,
        alias: str = "",
        stage: str = "",
        reason: str = "",
        expected_current: int | None = None,
        dry_run: bool = False,
    ) -> PromotionOutcome:
        """Promote the version that an alias or stage held before; see `promote`."""
        return self._run(
            flows_promotions.rollback(
                name, alias, stage, reason=reason, expected_current=expected_current, dry_run=dry_run
            )
        )

    def promotions(
        self, name: str, *, alias: str = "", stage: str = "", page_size: int = 0
    ) -> Iterator[Promotion]:
        """Iterate over the promotions of a model, newest first; only those of an alias or stage when given."""
        request = flows_promotions.list_promotions_request(name, alias, stage, page_size)
        return self._pages(request, flows_promotions.promotion_page)

    # Requests for approval

    def request_promotion(
        self,
        name: str,
        version: int | str,
        *,
        alias: str = "",
        stage: str = "",
        reason: str = "",
        expected_current: int | None = None,
    ) -> PromotionRequest:
        """Ask for approval of a promotion; rules other than approvals must be met."""
        return self._run(
            flows_promotions.request_promotion(
                name, version, alias, stage, reason=reason, expected_current=expected_current
            )
        )

    def approve(self, request_id: str, *, role: str = "", comment: str = "") -> DecisionOutcome:
        """Approve a request; the approval that completes it promotes.

        Args:
            request_id: request.
            role: role in which it is said; empty means any that the actor has.
            comment: why.
        """
        return self._run(flows_promotions.decide(request_id, approve=True, role=role, comment=comment))

    def reject(self, request_id: str, *, role: str = "", comment: str = "") -> DecisionOutcome:
        """Reject a request; see `approve`."""
        return self._run(flows_promotions.decide(request_id, approve=False, role=role, comment=comment))

    def get_request(self, request_id: str) -> PromotionRequest:
        """Read one request; raises NotFound."""
        return self._run(flows_promotions.get_request(request_id))

    def requests(self, name: str = "", *, state: str = "", page_size: int = 0) -> Iterator[PromotionRequest]:
        """Iterate over requests, newest first.

        Args:
            name: only of this model.
            state: only "PENDING", "APPROVED", "EXECUTED", "REJECTED" or "EXPIRED".
            page_size: requests a page, 1 to 1,000; 0 means 100.
        """
        request = flows_promotions.list_requests_request(name, state, page_size)
        return self._pages(request, flows_promotions.request_page)

    # Policies

    def put_policy(
        self,
        name: str,
        document: Mapping[str, Any],
        *,
        expected_revision: int | None = None,
        reason: str = "",
    ) -> Policy:
        """Store a policy as a new revision.

        Args:
            name: letters, digits, "_", "-" and ".".
            document: what it says (docs/promotion.md), e.g. {"models": "fraud-*", "targets": "alias/champion",
                "rules": [{"metric": {"condition": "accuracy >= 0.9"}}]}.
            expected_revision: revision that is in force now, 0 for none; None means any.
            reason: why.
        """
        return self._run(
            flows_policies.put_policy(name, document, expected_revision=expected_revision, reason=reason)
        )

    def get_policy(self, name: str, *, revision: int = 0) -> Policy:
        """Read a policy, in an older revision when given; raises NotFound."""
        return self._run(flows_policies.get_policy(name, revision))

    def policies(self, model: str = "", *, alias: str = "", stage: str = "") -> tuple[Policy, ...]:
        """The policies in force, or those that apply to a model and an alias or stage of it."""
        return self._run(flows_policies.list_policies(model, alias, stage))

    def delete_policy(self, name: str, *, reason: str = "") -> None:
        """Take a policy out of force; its revisions stay readable."""
        self._run(flows_policies.delete_policy(name, reason))

    # The audit trail

    def audit(self, name: str = "", *, chain: str = "", page_size: int = 0) -> Iterator[AuditEntry]:
        """Iterate over the audit trail, newest first.

        Args:
            name: only of this model, by its present or last name.
            chain: only of this chain: "model/<model id>", "policies" or "webhooks".
            page_size: entries a page, 1 to 1,000; 0 means 100.
        """
        request = flows_policies.list_audit_request(name, chain, page_size)
        return self._pages(request, flows_policies.audit_page)

    def verify_audit(self, *, chain: str = "") -> AuditReport:
        """Recompute the audit trail's hash chains, or one of them."""
        return self._run(flows_policies.verify_audit(chain))

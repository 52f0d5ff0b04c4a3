"""The part of `client.models` about promotions, awaited: the methods of `promotions`, described there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.query.async_sending import AsyncNamespace
from runstream.query.client_calls import DEFAULT_WAIT_SECONDS
from runstream.registry import flows_policies, flows_promotions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

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


class AsyncPromotions(AsyncNamespace):
    """See `Promotions`."""

    async def promote(
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
        """Move an alias or stage to a version, if every rule of the policies that apply is met."""
        wait = self._wait(wait_for, wait_seconds)
        return await self._run(
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

    async def rollback(
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
        return await self._run(
            flows_promotions.rollback(
                name, alias, stage, reason=reason, expected_current=expected_current, dry_run=dry_run
            )
        )

    def promotions(
        self, name: str, *, alias: str = "", stage: str = "", page_size: int = 0
    ) -> AsyncIterator[Promotion]:
        """Iterate over the promotions of a model, newest first; only those of an alias or stage when given."""
        request = flows_promotions.list_promotions_request(name, alias, stage, page_size)
        return self._pages(request, flows_promotions.promotion_page)

    # Requests for approval

    async def request_promotion(
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
        return await self._run(
            flows_promotions.request_promotion(
                name, version, alias, stage, reason=reason, expected_current=expected_current
            )
        )

    async def approve(self, request_id: str, *, role: str = "", comment: str = "") -> DecisionOutcome:
        """Approve a request; the approval that completes it promotes."""
        return await self._run(flows_promotions.decide(request_id, approve=True, role=role, comment=comment))

    async def reject(self, request_id: str, *, role: str = "", comment: str = "") -> DecisionOutcome:
        """Reject a request; see `approve`."""
        return await self._run(flows_promotions.decide(request_id, approve=False, role=role, comment=comment))

    async def get_request(self, request_id: str) -> PromotionRequest:
        """Read one request; raises NotFound."""
        return await self._run(flows_promotions.get_request(request_id))

    def requests(
        self, name: str = "", *, state: str = "", page_size: int = 0
    ) -> AsyncIterator[PromotionRequest]:
        """Iterate over requests, newest first."""
        request = flows_promotions.list_requests_request(name, state, page_size)
        return self._pages(request, flows_promotions.request_page)

    # Policies

    async def put_policy(
        self,
        name: str,
        document: Mapping[str, Any],
        *,
        expected_revision: int | None = None,
        reason: str = "",
    ) -> Policy:
        """Store a policy as a new revision."""
        return await self._run(
            flows_policies.put_policy(name, document, expected_revision=expected_revision, reason=reason)
        )

    async def get_policy(self, name: str, *, revision: int = 0) -> Policy:
        """Read a policy, in an older revision when given; raises NotFound."""
        return await self._run(flows_policies.get_policy(name, revision))

    async def policies(self, model: str = "", *, alias: str = "", stage: str = "") -> tuple[Policy, ...]:
        """The policies in force, or those that apply to a model and an alias or stage of it."""
        return await self._run(flows_policies.list_policies(model, alias, stage))

    async def delete_policy(self, name: str, *, reason: str = "") -> None:
        """Take a policy out of force; its revisions stay readable."""
        await self._run(flows_policies.delete_policy(name, reason))

    # The audit trail

    def audit(self, name: str = "", *, chain: str = "", page_size: int = 0) -> AsyncIterator[AuditEntry]:
        """Iterate over the audit trail, newest first."""
        request = flows_policies.list_audit_request(name, chain, page_size)
        return self._pages(request, flows_policies.audit_page)

    async def verify_audit(self, *, chain: str = "") -> AuditReport:
        """Recompute the audit trail's hash chains, or one of them."""
        return await self._run(flows_policies.verify_audit(chain))

"""Requests for approval: asked for, decided by people with roles, carried out, expired."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from runstream_common.errors import PlatformError
from runstream_contract.ids import new_batch_id

from runstream_registry.changes import record_change
from runstream_registry.errors import ModelNotFound
from runstream_registry.promotion.approving import check_decision, missing_approvals, request_hours
from runstream_registry.promotion.gates import APPROVALS
from runstream_registry.promotion.request_changes import CREATED, DECIDED, EXPIRED, FAILED, request_change
from runstream_registry.promotion_entities import (
    Decision,
    Promotion,
    PromotionOrder,
    Request,
    RequestState,
)
from runstream_registry.promotion_errors import (
    AlreadyDecided,
    AlreadyThere,
    NoApprovalNeeded,
    PromotionRefused,
    RequestExists,
    RequestNotFound,
    RequestNotOpen,
)
from runstream_registry.store import promotion_facts, request_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.promotion.policies import PolicyReader
    from runstream_registry.promotion.promotions import Promotions

log = structlog.get_logger(__name__)

MS_PER_HOUR = 3_600_000
SERVICE_ACTOR = "runstream"
"""Who lets requests expire."""

LEFT_BEHIND_MS = 60_000
"""After this time an approved request that was not carried out was left behind by a service that ended."""

OPEN = frozenset({RequestState.PENDING, RequestState.APPROVED})


class Requests:
    """Use cases around requests for approval; owns their transactions.

    Args:
        database: where they are.
        clock: time of decisions, and what requests expire by.
        policies: finds the policies that apply.
        promotions: judges and carries them out.
        wake: tells the outbox relay of a commit.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: PolicyReader,
        promotions: Promotions,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._promotions = promotions
        self._wake = wake

    async def create(self, order: PromotionOrder) -> Request:
        """Ask for approval of a promotion whose other rules are met now.

        Raises:
            ModelNotFound, VersionNotFound, VersionNotReady, CurrentVersionChanged: as for a promotion.
            NoApprovalNeeded: no policy wants approvals.
            AlreadyThere: the target holds the version.
            PromotionRefused: another rule is not met.
            RequestExists: somebody has asked for the same.
        """
        situation, outcomes = await self._promotions.judge_waiting(order)
        facts, number = situation.facts, situation.version.version
        hours = request_hours(situation.policies)
        if hours is None:
            raise NoApprovalNeeded(facts.name, order.target)
        if facts.current_version == number:
            raise AlreadyThere(facts.name, number, order.target)
        others = [outcome for outcome in outcomes if outcome.kind != APPROVALS]
        if not all(outcome.passed for outcome in others):
            raise PromotionRefused(facts.name, number, order.target, others)
        now_ms = self._clock.now_ms()
        request = Request(
            request_id=new_batch_id(),
            model_id=facts.model_id,
            name=facts.name,
            prompt=facts.prompt,
            version=number,
            target=order.target,
            reason=order.reason,
            expected_current=order.expected_current,
            actor=order.actor,
            state=RequestState.PENDING,
            creation_time_ms=now_ms,
            expire_time_ms=now_ms + hours * MS_PER_HOUR,
        )
        await self._insert(request, now_ms)
        return replace(request, missing_approvals=missing_approvals(situation.policies, request))

    async def decide(
        self, request_id: str, *, actor: str, approve: bool, role: str, comment: str
    ) -> tuple[Request, Promotion | None]:
        """Take one person's word; the approval that completes a request promotes.

        Returns:
            The request as it is then, and the promotion if there was one. When a rule stands against it by now, the
            request stays approved and says why.

        Raises:
            RequestNotFound: there is none.
            RequestNotOpen: it does not wait for approvals.
            AlreadyDecided: the person has decided before.
            NotAnApprover: the word does not count.
        """
        decided = await self._decide(
            request_id, Decision(actor, role, approve, comment, self._clock.now_ms())
        )
        self._wake()
        if decided.state is not RequestState.APPROVED:
            return decided, None
        promotion = await self._carry_out(decided)
        return await self.get(request_id), promotion

    async def get(self, request_id: str) -> Request:
        """One request.

        Raises:
            RequestNotFound: there is none.
        """
        async with self._database.driver() as connection:
            request = await request_repository.select_one(connection, request_id)
            if request is None:
                raise RequestNotFound(request_id)
            return (await self._with_missing(connection, [request]))[0]

    async def page(
        self, name: str, state: RequestState | None, *, before: tuple[int, str] | None, limit: int
    ) -> list[Request]:
        """Requests, newest first.

        Args:
            name: only of this model; empty means all.
            before: creation time and id that the page comes after.

        Raises:
            ModelNotFound: there is no model of that name.
        """
        async with self._database.driver() as connection:
            model_id = await promotion_facts.select_model_id(connection, name) if name else None
            if name and model_id is None:
                raise ModelNotFound(name)
            found = await request_repository.select_page(
                connection, model_id=model_id, state=state, before=before, limit=limit
            )
            return await self._with_missing(connection, found)

    async def expire(self, limit: int) -> int:
        """Let requests expire whose time is over; returns how many. Any number of replicas may."""
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection:
            request_ids = await request_repository.select_expired(connection, now_ms, limit)
        for request_id in request_ids:
            with suppress(ModelNotFound, RequestNotFound):  # deleted since it was found
                await self._expire(request_id, now_ms)
        if request_ids:
            self._wake()
        return len(request_ids)

    async def carry_out_left_behind(self, limit: int) -> int:
        """Carry out approved requests whose service ended before it could; returns how many were tried."""
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection:
            request_ids = await request_repository.select_left_behind(
                connection, now_ms, now_ms - LEFT_BEHIND_MS, limit
            )
        for request_id in request_ids:
            with suppress(ModelNotFound, RequestNotFound):  # deleted since it was found
                await self._carry_out(await self.get(request_id))
        return len(request_ids)

    async def _insert(self, request: Request, now_ms: int) -> None:
        async with self._database.driver() as connection, connection.transaction():
            if not await promotion_facts.lock_model_id(connection, request.model_id):
                raise ModelNotFound(request.name)
            same = await request_repository.select_open(
                connection, request.model_id, request.version, request.target, now_ms
            )
            if same is not None:
                raise RequestExists(same)
            await request_repository.insert(connection, request)
            change = request_change(
                request,
                CREATED,
                before=None,
                actor=request.actor,
                reason=request.reason,
                time_ms=now_ms,
                notice="CREATED",
            )
            await record_change(connection, change, clock=self._clock)
        self._wake()

    async def _decide(self, request_id: str, decision: Decision) -> Request:
        async with self._database.driver() as connection, connection.transaction():
            request = await self._locked(connection, request_id)
            if request.state is not RequestState.PENDING:
                raise RequestNotOpen(request, request.state.name)
            if request.expire_time_ms <= decision.time_ms:
                raise RequestNotOpen(request, RequestState.EXPIRED.name)
            if any(earlier.actor == decision.actor for earlier in request.decisions):
                raise AlreadyDecided(request_id, decision.actor)
            policies = await self._policies.applying(connection, request.name, request.target)
            check_decision(policies, request, decision)
            changed = replace(request, decisions=[*request.decisions, decision])
            missing = missing_approvals(policies, changed)
            changed = replace(changed, state=_state_after(decision, missing), missing_approvals=missing)
            await request_repository.insert_decision(connection, request_id, decision)
            if changed.state is not request.state:
                await request_repository.update_state(connection, request_id, changed.state)
            await self._record_decision(connection, request, changed, decision)
            return changed

    async def _record_decision(
        self, connection: Connection, before: Request, after: Request, decision: Decision
    ) -> None:
        notices = {RequestState.APPROVED: "APPROVED", RequestState.REJECTED: "REJECTED"}
        word = {"approved": decision.approved, "role": decision.role, "missing": after.missing_approvals}
        change = request_change(
            after,
            DECIDED,
            before=before.state,
            actor=decision.actor,
            reason=decision.comment,
            time_ms=decision.time_ms,
            notice=notices.get(after.state, ""),
            more={"decision": word},
        )
        await record_change(connection, change, clock=self._clock)

    async def _carry_out(self, request: Request) -> Promotion | None:
        order = PromotionOrder(
            name=request.name,
            version=request.version,
            target=request.target,
            actor=request.actor,
            reason=request.reason,
            request_id=request.request_id,
        )
        try:
            result = await self._promotions.promote(order)
        except PlatformError as error:
            await self._note_failure(request, error)
            return None
        if result.promotion is None:
            await self._note_failure(request, AlreadyThere(request.name, request.version, request.target))
        return result.promotion

    async def _note_failure(self, request: Request, error: PlatformError) -> None:
        log.warning("approved_request_failed", request_id=request.request_id, reason=error.reason)
        async with self._database.driver() as connection, connection.transaction():
            latest = await self._locked(connection, request.request_id)
            if latest.state is not RequestState.APPROVED:
                return
            failed = replace(latest, last_error=error.message)
            await request_repository.update_state(
                connection, request.request_id, latest.state, last_error=error.message
            )
            change = request_change(
                failed,
                FAILED,
                before=latest.state,
                actor=request.actor,
                reason=error.message,
                time_ms=self._clock.now_ms(),
            )
            await record_change(connection, change, clock=self._clock)
        self._wake()

    async def _expire(self, request_id: str, now_ms: int) -> None:
        async with self._database.driver() as connection, connection.transaction():
            request = await self._locked(connection, request_id)
            if request.state not in OPEN or request.expire_time_ms > now_ms:
                return
            expired = replace(request, state=RequestState.EXPIRED)
            await request_repository.update_state(
                connection, request_id, expired.state, last_error=request.last_error
            )
            change = request_change(
                expired,
                EXPIRED,
                before=request.state,
                actor=SERVICE_ACTOR,
                reason="",
                time_ms=now_ms,
                notice="EXPIRED",
            )
            await record_change(connection, change, clock=self._clock)

    async def _locked(self, connection: Connection, request_id: str) -> Request:
        """The request, under the lock of its model's row, as every change of a request is made."""
        request = await request_repository.select_one(connection, request_id)
        if request is None:
            raise RequestNotFound(request_id)
        if not await promotion_facts.lock_model_id(connection, request.model_id):
            raise ModelNotFound(request.name)
        return await request_repository.select_one(connection, request_id) or request

    async def _with_missing(self, connection: Connection, requests: Sequence[Request]) -> list[Request]:
        if not any(request.state is RequestState.PENDING for request in requests):
            return list(requests)
        policies = await self._policies.in_force(connection)
        return [
            replace(request, missing_approvals=missing_approvals(policies, request))
            if request.state is RequestState.PENDING
            else request
            for request in requests
        ]


def _state_after(decision: Decision, missing: int) -> RequestState:
    if not decision.approved:
        return RequestState.REJECTED
    return RequestState.PENDING if missing else RequestState.APPROVED

"""Reads everything of our own that an order is judged on: facts, policies, and the request whose approvals count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument

from runstream_registry.entities import Stage, VersionStatus
from runstream_registry.errors import ModelNotFound, VersionNotFound
from runstream_registry.promotion.rollbacks import previous_version
from runstream_registry.promotion_entities import RequestState
from runstream_registry.promotion_errors import (
    CurrentVersionChanged,
    RequestNotFound,
    RequestNotOpen,
    VersionNotReady,
)
from runstream_registry.store import promotion_facts, request_repository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock

    from runstream_registry.policy.entities import Policy
    from runstream_registry.promotion.policies import PolicyReader
    from runstream_registry.promotion_entities import PromotionOrder, Request, TargetFacts, VersionFacts

RETIRED = frozenset({Stage.NONE, Stage.ARCHIVED})
"""Stages that take a version out of use, which may be any."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything of our own that an order is judged on, at one moment."""

    facts: TargetFacts
    version: VersionFacts
    policies: Sequence[Policy]
    request: Request | None


class SituationReader:
    """Reads situations, inside or outside of a transaction.

    Args:
        policies: finds the policies that apply.
        clock: what requests expire by.
    """

    def __init__(self, policies: PolicyReader, clock: Clock) -> None:
        self._policies = policies
        self._clock = clock

    async def read(self, connection: Connection, order: PromotionOrder) -> Situation:
        """The situation as the connection sees it now; for a rollback with the version that it leads to.

        Raises:
            ModelNotFound, VersionNotFound, RequestNotFound: what it names is not there.
            VersionNotReady, RequestNotOpen, NoPreviousVersion: the state does not allow it.
            CurrentVersionChanged: the target holds another version than expected.
        """
        facts = await promotion_facts.select_facts(connection, order.name, order.version or 0, order.target)
        if facts is None:
            raise ModelNotFound(order.name)
        check_expected(order, facts, order.expected_current)
        if order.version is None:
            number = await previous_version(connection, facts, order.target)
            facts = await promotion_facts.select_facts(connection, order.name, number, order.target) or facts
        if facts.version is None:
            raise VersionNotFound(order.name, order.version or 0)
        if facts.version.status is not VersionStatus.READY and order.target.stage not in RETIRED:
            raise VersionNotReady(order.name, facts.version.version, facts.version.status.name)
        policies = await self._policies.applying(connection, facts.name, order.target)
        request = await self._request(connection, order, facts, facts.version)
        return Situation(facts, facts.version, policies, request)

    async def _request(
        self, connection: Connection, order: PromotionOrder, facts: TargetFacts, version: VersionFacts
    ) -> Request | None:
        if order.rollback:
            # Who approved the version for this target has approved that it comes back.
            return await request_repository.select_last_executed(
                connection, facts.model_id, version.version, order.target
            )
        if not order.request_id:
            return None
        request = await request_repository.select_one(connection, order.request_id)
        if request is None:
            raise RequestNotFound(order.request_id)
        self._check_request(order, facts, request)
        return request

    def _check_request(self, order: PromotionOrder, facts: TargetFacts, request: Request) -> None:
        asked = (request.model_id, request.version, request.target)
        if asked != (facts.model_id, order.version, order.target):
            wanted = f"{request.name} version {request.version} to {request.target}"
            raise InvalidArgument.of("request_id", f"is a request for {wanted}")
        if request.state not in {RequestState.PENDING, RequestState.APPROVED}:
            raise RequestNotOpen(request, request.state.name)
        if request.expire_time_ms <= self._clock.now_ms():
            raise RequestNotOpen(request, RequestState.EXPIRED.name)
        check_expected(order, facts, request.expected_current)


def check_expected(order: PromotionOrder, facts: TargetFacts, expected: int | None) -> None:
    """Refuse when the target holds another version than expected; None expects nothing.

    Raises:
        CurrentVersionChanged: it does.
    """
    if expected is not None and expected != facts.current_version:
        raise CurrentVersionChanged(
            facts.name, order.target, expected=expected, current=facts.current_version
        )

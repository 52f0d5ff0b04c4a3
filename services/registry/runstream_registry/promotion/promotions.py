"""Promotions: the one way in which an alias or stage comes to hold a version.

An order is judged on facts that are read under the lock of the model's row, so that what the gates saw is what is
true when the promotion is made. Only what other services say is gathered before; if the facts under the lock call for
more than was gathered, the order is judged anew.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog
from runstream_common.errors import DeadlineExceeded, Unavailable
from runstream_contract.ids import new_batch_id

from runstream_registry.changes import record_change
from runstream_registry.entities import GIT_COMMIT_TAG
from runstream_registry.errors import ModelNotFound
from runstream_registry.promotion import promotion_metrics
from runstream_registry.promotion.gates import Case, Evidence, judge_all
from runstream_registry.promotion.gates.gathering import needs_of
from runstream_registry.promotion.promotion_changes import promotion_change
from runstream_registry.promotion.situations import SituationReader
from runstream_registry.promotion_entities import Promotion, PromotionResult, RequestState
from runstream_registry.promotion_errors import (
    PromotionRefused,
    TooManyChanges,
)
from runstream_registry.store import (
    promotion_facts,
    promotion_queries,
    promotion_repository,
    request_repository,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.promotion.gates.gathering import EvidenceSource
    from runstream_registry.promotion.policies import PolicyReader
    from runstream_registry.promotion.situations import Situation
    from runstream_registry.promotion_entities import (
        PromotionOrder,
        RuleOutcome,
        Target,
        VersionFacts,
    )

log = structlog.get_logger(__name__)

ATTEMPTS = 20
"""Times that an order is judged; each repetition means that somebody else's change called for more evidence."""

FIRST_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 0.5
"""Waits before the next time, so that many who compare with the version in place all get through."""

MAX_EVENT_METRICS = 1_000
"""Metrics that an event carries, in the order of their keys, so that it fits a Kafka message."""


class Promotions:
    """Use cases around promotions; owns their transactions.

    Args:
        database: where they are.
        clock: time of promotions.
        policies: finds the policies that apply.
        evidence: asks other services.
        wake: tells the outbox relay of a commit.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: PolicyReader,
        evidence: EvidenceSource,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._situations = SituationReader(policies, clock)
        self._evidence = evidence
        self._wake = wake

    async def promote(self, order: PromotionOrder) -> PromotionResult:
        """Carry out an order, or explain what would become of it.

        Raises:
            ModelNotFound, VersionNotFound, RequestNotFound: what it names is not there.
            VersionNotReady, RequestNotOpen, NoPreviousVersion: the state does not allow it.
            CurrentVersionChanged: the target holds another version than expected.
            PromotionRefused: a rule is not met; never for a dry run, whose outcomes say it.
            Unavailable: a service that a rule depends on is away.
        """
        evidence = Evidence()
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(_delay_seconds(attempt))
            async with self._database.driver() as connection:
                situation = await self._situations.read(connection, order)
            if not order.dry_run and _is_there(order, situation):
                return _unchanged(situation)
            evidence = await self._gather(situation, evidence)
            if order.dry_run:
                return self._explained(order, situation, evidence)
            result = await self._carry_out(order, situation, evidence)
            if result is not None:
                return result
        raise TooManyChanges(order.name, order.target)

    async def page(
        self, name: str, target: Target | None, *, before: int | None, limit: int
    ) -> Sequence[Promotion]:
        """Promotions of a model, newest first.

        Args:
            before: only with a smaller sequence.

        Raises:
            ModelNotFound: there is no model of that name.
        """
        async with self._database.driver() as connection:
            model_id = await promotion_facts.select_model_id(connection, name)
            if model_id is None:
                raise ModelNotFound(name)
            return await promotion_queries.select_page(
                connection, model_id, target, before=before, limit=limit
            )

    async def judge_waiting(self, order: PromotionOrder) -> tuple[Situation, list[RuleOutcome]]:
        """What the rules say of an order for which approvals are to be asked; nothing is changed.

        Raises:
            PlatformError: as ``promote``, except that no rule refuses.
        """
        async with self._database.driver() as connection:
            situation = await self._situations.read(connection, order)
        evidence = await self._gather(situation, Evidence())
        return situation, self._judged(order, situation, evidence)

    async def _carry_out(
        self, order: PromotionOrder, seen: Situation, evidence: Evidence
    ) -> PromotionResult | None:
        """Decide and write under the lock; None when the facts there call for more evidence."""
        self._check_rules(order, seen, evidence)  # most refusals need no lock
        async with self._database.driver() as connection, connection.transaction():
            if await promotion_facts.lock_model(connection, order.name) is None:
                raise ModelNotFound(order.name)
            situation = await self._situations.read(connection, order)
            if _is_there(order, situation):
                return _unchanged(situation)
            if not _known(situation, evidence):
                return None
            rules = self._check_rules(order, situation, evidence)
            promotion = self._promotion(order, situation, evidence, rules)
            await self._write(connection, order, situation, promotion)
        self._wake()
        _note(promotion)
        return PromotionResult(promotion, rules, promotion.version, promotion.previous_version)

    async def _gather(self, situation: Situation, evidence: Evidence) -> Evidence:
        needs = needs_of(situation.policies, situation.facts, situation.version)
        evidence = await self._evidence.complete(evidence, needs)
        run_id = situation.version.run_id
        if not run_id or run_id in evidence.runs:
            return evidence
        try:
            return await self._evidence.with_runs(evidence, [run_id])
        except (Unavailable, DeadlineExceeded):
            # No rule depends on the run. A version that was promoted before comes with what was recorded then: a
            # rollback must not wait for the metadata service.
            recorded = await self._recorded(situation)
            if recorded is None:
                raise
            log.warning("promotion_uses_recorded_metrics", model=situation.facts.name, run_id=run_id)
            return evidence.with_recorded(recorded)

    async def _recorded(self, situation: Situation) -> Promotion | None:
        async with self._database.driver() as connection:
            return await promotion_queries.select_last_of_version(
                connection, situation.facts.model_id, situation.version.version
            )

    def _judged(self, order: PromotionOrder, situation: Situation, evidence: Evidence) -> list[RuleOutcome]:
        case = Case(
            model=situation.facts.name,
            version=situation.version,
            target=order.target,
            current_version=situation.facts.current_version,
            current_run_id=situation.facts.current_run_id,
            evidence=evidence,
            request=situation.request,
            rollback=order.rollback,
            now_ms=self._clock.now_ms(),
        )
        return judge_all(situation.policies, case)

    def _check_rules(
        self, order: PromotionOrder, situation: Situation, evidence: Evidence
    ) -> list[RuleOutcome]:
        rules = self._judged(order, situation, evidence)
        failed = [rule for rule in rules if not rule.passed]
        if failed:
            promotion_metrics.count_refusal(failed)
            raise PromotionRefused(situation.facts.name, situation.version.version, order.target, rules)
        return rules

    def _explained(self, order: PromotionOrder, situation: Situation, evidence: Evidence) -> PromotionResult:
        rules = self._judged(order, situation, evidence)
        return PromotionResult(None, rules, situation.version.version, situation.facts.current_version)

    def _promotion(
        self, order: PromotionOrder, situation: Situation, evidence: Evidence, rules: Sequence[RuleOutcome]
    ) -> Promotion:
        facts, version = situation.facts, situation.version
        metrics, git_commit = _source_of(version, evidence)
        request = situation.request if order.request_id else None
        return Promotion(
            promotion_id=new_batch_id(),
            name=facts.name,
            sequence=facts.promotion_sequence + 1,
            version=version.version,
            previous_version=facts.current_version,
            target=order.target,
            rollback=order.rollback,
            actor=order.actor,
            reason=order.reason or (request.reason if request else ""),
            time_ms=self._clock.now_ms(),
            request_id=order.request_id,
            rules=rules,
            metrics=metrics,
            run_id=version.run_id,
            git_commit=git_commit,
            artifact_uri=version.artifact_uri,
            artifact_digest=version.artifact_digest,
        )

    async def _write(
        self, connection: Connection, order: PromotionOrder, situation: Situation, promotion: Promotion
    ) -> None:
        facts = situation.facts
        await promotion_repository.insert_promotion(connection, facts.model_id, promotion)
        archived = await promotion_repository.move_target(
            connection,
            facts.model_id,
            promotion.target,
            promotion.version,
            # What is rolled back would otherwise stay the stage's highest version, and thus be what it means.
            archive_existing=order.archive_existing or order.rollback,
            time_ms=promotion.time_ms,
        )
        if order.request_id:
            await request_repository.update_state(
                connection,
                order.request_id,
                RequestState.EXECUTED,
                promotion_sequence=promotion.sequence,
            )
        change = promotion_change(
            facts, promotion, version_id=situation.version.version_id, archived=archived
        )
        await record_change(connection, change, clock=self._clock)


def _delay_seconds(attempt: int) -> float:
    longest = min(FIRST_DELAY_SECONDS * 2**attempt, MAX_DELAY_SECONDS)
    return random.uniform(0, longest)  # noqa: S311 - jitter


def _known(situation: Situation, evidence: Evidence) -> bool:
    """Whether the evidence is enough to judge the situation and to tell of the promotion."""
    needs = needs_of(situation.policies, situation.facts, situation.version)
    run_id = situation.version.run_id
    return needs.met_by(evidence) and (not run_id or run_id in evidence.runs)


def _is_there(order: PromotionOrder, situation: Situation) -> bool:
    stage = order.target.stage
    if stage is not None:
        return situation.version.stage is stage and not (order.archive_existing and situation.facts.shared)
    return situation.facts.current_version == situation.version.version


def _unchanged(situation: Situation) -> PromotionResult:
    return PromotionResult(None, [], situation.version.version, situation.facts.current_version)


def _source_of(version: VersionFacts, evidence: Evidence) -> tuple[Mapping[str, float], str]:
    """Metrics and git commit of the run that made the version."""
    run = evidence.runs.get(version.run_id)
    if run is None:
        return {}, ""
    kept = sorted(run.metrics)[:MAX_EVENT_METRICS]
    return {key: run.metrics[key] for key in kept}, run.tags.get(GIT_COMMIT_TAG, "")


def _note(promotion: Promotion) -> None:
    promotion_metrics.PROMOTED.labels(promotion.target.kind.value, str(promotion.rollback).lower()).inc()
    log.info(
        "promoted",
        model=promotion.name,
        version=promotion.version,
        previous_version=promotion.previous_version,
        target=promotion.target.path,
        sequence=promotion.sequence,
        rollback=promotion.rollback,
        actor=promotion.actor,
    )

"""What promotions are made of, as plain values. Times are milliseconds since the Unix epoch (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from runstream_registry.entities import Stage, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TargetKind(StrEnum):
    """What a version is promoted to."""

    ALIAS = "alias"
    STAGE = "stage"


@dataclass(frozen=True, slots=True)
class Target:
    """An alias, or a stage by its label."""

    kind: TargetKind
    name: str

    @property
    def path(self) -> str:
        """As policies name it, such as "alias/champion" or "stage/Production"."""
        return f"{self.kind}/{self.name}"

    @property
    def stage(self) -> Stage | None:
        """The stage; None for an alias."""
        return Stage[self.name.upper()] if self.kind is TargetKind.STAGE else None

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What became of one rule of one policy; rule and detail are in words."""

    policy: str
    revision: int
    kind: str
    rule: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class EvaluationFact:
    """The last outcome of an evaluation of a version."""

    passed: bool
    time_ms: int
    summary: str = ""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What gates and events want to know of a version."""

    version: int
    version_id: str
    status: VersionStatus
    stage: Stage
    run_id: str
    signed: bool
    artifact_uri: str
    artifact_digest: str
    tags: Mapping[str, str] = field(default_factory=dict)
    evaluations: Mapping[str, EvaluationFact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """A model, a version of it and what a target holds, at one moment.

    Args:
        version: None when there is no such version.
        current_version: that the target holds; of a stage the highest one. 0 for none.
        current_run_id: run that made it; may be empty.
        shared: whether the target is a stage that other versions have.
    """

    model_id: int
    name: str
    prompt: bool
    promotion_sequence: int
    version: VersionFacts | None
    current_version: int
    current_run_id: str
    shared: bool = False


class RequestState(IntEnum):
    """State of a request for approval, with the numbers of ``runstream.registry.v1``."""

    PENDING = 1
    APPROVED = 2
    EXECUTED = 3
    REJECTED = 4
    EXPIRED = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on a request; the role may be empty."""

    actor: str
    role: str
    approved: bool
    comment: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request for approval of a promotion.

    Args:
        expected_current: version that the target must hold when it is carried out, 0 for none; None means any.
        missing_approvals: how many more people are needed; known only while it waits.
    """

    request_id: str
    model_id: int
    name: str
    prompt: bool
    version: int
    target: Target
    reason: str
    expected_current: int | None
    actor: str
    state: RequestState
    creation_time_ms: int
    expire_time_ms: int
    decisions: Sequence[Decision] = ()
    promotion_sequence: int = 0
    last_error: str = ""
    missing_approvals: int = 0


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion that was made; a previous version of 0 means none."""

    promotion_id: str
    name: str
    sequence: int
    version: int
    previous_version: int
    target: Target
    rollback: bool
    actor: str
    reason: str
    time_ms: int
    request_id: str
    rules: Sequence[RuleOutcome]
    metrics: Mapping[str, float]
    run_id: str
    git_commit: str
    artifact_uri: str
    artifact_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOrder:
    """What somebody wants to be promoted.

    Args:
        version: None for a rollback: the one that the target held before.
        expected_current: version that the target must hold, 0 for none; None means any.
        archive_existing: stages only: archive the other versions of the stage.
        request_id: request that this carries out; may be empty.
    """

    name: str
    version: int | None
    target: Target
    actor: str
    reason: str = ""
    expected_current: int | None = None
    dry_run: bool = False
    archive_existing: bool = False
    request_id: str = ""

    @property
    def rollback(self) -> bool:
        """Whether the target is to go back."""
        return self.version is None


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """What became of an order; the promotion is None for a dry run and when nothing changed."""

    promotion: Promotion | None
    rules: Sequence[RuleOutcome]
    version: int
    previous_version: int

    @property
    def allowed(self) -> bool:
        """Whether every rule is met."""
        return all(rule.passed for rule in self.rules)

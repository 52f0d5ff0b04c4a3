"""What a gate decides on: the facts of one promotion, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runstream_registry.entities import GIT_COMMIT_TAG, RunFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_registry.artifact_client import Verification
    from runstream_registry.policy.entities import ArtifactRule
    from runstream_registry.promotion_entities import Promotion, Request, Target, VersionFacts


@dataclass(frozen=True, slots=True)
class Evidence:
    """What other services said.

    Args:
        runs: by run id; None for a run that the metadata service does not know.
        files: by version id and rule.
    """

    runs: Mapping[str, RunFacts | None] = field(default_factory=dict)
    files: Mapping[tuple[str, ArtifactRule], Verification] = field(default_factory=dict)

    def with_recorded(self, promotion: Promotion) -> Evidence:
        """The same with what an earlier promotion recorded of its run, in place of what the run has now."""
        run = RunFacts(
            run_id=promotion.run_id,
            name="",
            experiment_id="",
            user_id="",
            deleted=False,
            tags={GIT_COMMIT_TAG: promotion.git_commit} if promotion.git_commit else {},
            metrics=promotion.metrics,
            datasets=(),
        )
        return replace(self, runs={**self.runs, promotion.run_id: run})


@dataclass(frozen=True, slots=True)
class Case:
    """One promotion to judge.

    Args:
        current_version: that the target holds now; 0 for none.
        current_run_id: run that made that version; may be empty.
        request: whose approvals count; None when nobody was asked.
        now_ms: milliseconds since the Unix epoch.
    """

    model: str
    version: VersionFacts
    target: Target
    current_version: int
    current_run_id: str
    evidence: Evidence
    request: Request | None
    rollback: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule is met, and why, with the numbers."""

    passed: bool
    detail: str

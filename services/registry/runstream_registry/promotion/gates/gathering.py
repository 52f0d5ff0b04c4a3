"""Gathers what gates need to know from other services, before the transaction that decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from runstream_registry.artifact_client import FileOwner
from runstream_registry.policy.entities import ArtifactRule, MetricRule
from runstream_registry.promotion.gates.artifacts import kept_by_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from runstream_registry.artifact_client import Verification
    from runstream_registry.entities import RunFacts
    from runstream_registry.policy.entities import Policy
    from runstream_registry.promotion.gates.case import Evidence
    from runstream_registry.promotion_entities import TargetFacts, VersionFacts

    class RunReader(Protocol):
        """The part of the metadata client that is needed."""

        def runs(self, run_ids: Sequence[str]) -> Awaitable[dict[str, RunFacts]]:
            """Facts of the runs that exist."""
            ...

    class FileChecker(Protocol):
        """The part of the artifact client that is needed."""

        def verify(
            self, owner: FileOwner, paths: Sequence[str], *, read_content: bool
        ) -> Awaitable[Verification]:
            """Compare what the store holds with what was recorded."""
            ...


@dataclass(frozen=True, slots=True)
class Needs:
    """What the rules of some policies need to know of one promotion.

    Args:
        run_ids: runs whose metrics are compared.
        version: whose files are checked.
    """

    run_ids: frozenset[str]
    version: VersionFacts
    file_rules: frozenset[ArtifactRule]

    def missing_runs(self, evidence: Evidence) -> list[str]:
        """Runs that nobody was asked about yet."""
        return sorted(self.run_ids - evidence.runs.keys())

    def missing_files(self, evidence: Evidence) -> list[ArtifactRule]:
        """Checks that were not made yet."""
        version_id = self.version.version_id
        return [rule for rule in self.file_rules if (version_id, rule) not in evidence.files]

    def met_by(self, evidence: Evidence) -> bool:
        """Whether everything is known."""
        return not self.missing_runs(evidence) and not self.missing_files(evidence)


def needs_of(policies: Sequence[Policy], facts: TargetFacts, version: VersionFacts) -> Needs:
    """What judging the version by the policies needs."""
    rules = [rule for policy in policies for rule in policy.document.rules]
    metric_rules = [rule for rule in rules if isinstance(rule, MetricRule)]
    run_ids = {version.run_id} if metric_rules else set()
    if any(rule.condition.relative for rule in metric_rules):
        run_ids.add(facts.current_run_id)
    file_rules = {rule for rule in rules if isinstance(rule, ArtifactRule)} if kept_by_us(version) else set()
    return Needs(frozenset(run_ids - {""}), version, frozenset(file_rules))


class EvidenceSource:
    """Asks the metadata and artifact services.

    Args:
        runs: knows metrics and tags of runs.
        files: compares files with the object store.
    """

    def __init__(self, runs: RunReader, files: FileChecker) -> None:
        self._runs = runs
        self._files = files

    async def complete(self, evidence: Evidence, needs: Needs) -> Evidence:
        """The evidence with everything that was missing; what is known is not asked again.

        Raises:
            Unavailable: a service is away; that is never taken for a pass.
        """
        if needs.met_by(evidence):
            return evidence
        return await self._with_files(await self.with_runs(evidence, needs.missing_runs(evidence)), needs)

    async def with_runs(self, evidence: Evidence, run_ids: Sequence[str]) -> Evidence:
        """The evidence with these runs.

        Raises:
            Unavailable: the metadata service is away.
        """
        if not run_ids:
            return evidence
        found = await self._runs.runs(run_ids)
        return replace(evidence, runs={**evidence.runs, **{run_id: found.get(run_id) for run_id in run_ids}})

    async def _with_files(self, evidence: Evidence, needs: Needs) -> Evidence:
        rules = needs.missing_files(evidence)
        if not rules:
            return evidence
        version_id = needs.version.version_id
        owner = FileOwner.version(version_id)
        found = await asyncio.gather(
            *(self._files.verify(owner, rule.paths, read_content=rule.verify_checksums) for rule in rules)
        )
        checked = {(version_id, rule): outcome for rule, outcome in zip(rules, found, strict=True)}
        return replace(evidence, files={**evidence.files, **checked})

"""What tests of promotions are made of: models written straight into the tables, and stand-ins for other services."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runstream_common.errors import Unavailable
from runstream_registry.artifact_client import FileOwner, Verification
from runstream_registry.entities import GIT_COMMIT_TAG, RunFacts
from runstream_registry.promotion_entities import PromotionOrder, Target, TargetKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_common.clock import ManualClock
    from runstream_common.database import Database
    from runstream_registry.promotion_wiring import PromotionParts

CHAMPION = Target(TargetKind.ALIAS, "champion")
PRODUCTION = Target(TargetKind.STAGE, "Production")
STAGING = Target(TargetKind.STAGE, "Staging")

INSERT_VERSION = """
INSERT INTO registry.version (version_id, model_id, version, source, run_id, status, stage, signature, artifact_uri,
    artifact_digest, artifact_file_count, creation_time_ms, last_updated_time_ms)
VALUES ($1, $2, $3, 'runs:/x/model', $4, $5, $6, $7, $8, 'd1', 2, 1, 1)
"""


def run_facts(run_id: str, metrics: Mapping[str, float], git_commit: str = "abc123") -> RunFacts:
    """A run as the metadata service tells of it."""
    return RunFacts(run_id, run_id, "1", "ada", False, {GIT_COMMIT_TAG: git_commit}, metrics, ())


@dataclass
class FakeRuns:
    """Stands in for the metadata service."""

    runs_by_id: dict[str, RunFacts] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    async def runs(self, run_ids: Sequence[str]) -> dict[str, RunFacts]:
        self.asked += 1
        if self.away:
            raise Unavailable("the metadata service is away")
        return {run_id: self.runs_by_id[run_id] for run_id in run_ids if run_id in self.runs_by_id}


@dataclass
class FakeFiles:
    """Stands in for the artifact service."""

    problems: tuple[str, ...] = ()
    file_count: int = 2
    away: bool = False
    asked: list[tuple[str, tuple[str, ...], bool]] = field(default_factory=list)

    async def verify(self, owner: FileOwner, paths: Sequence[str], *, read_content: bool) -> Verification:
        if self.away:
            raise Unavailable("the artifact service is away")
        self.asked.append((owner.owner_id, tuple(paths), read_content))
        return Verification(self.file_count, 100, self.problems)


@dataclass
class Registry:
    """A registry in this process with its stand-ins, and short ways to fill and read it."""

    database: Database
    clock: ManualClock
    runs: FakeRuns
    files: FakeFiles
    parts: PromotionParts
    wakes: list[None]

    async def add_model(self, name: str = "fraud", *, prompt: bool = False) -> int:
        """A model without versions; its id."""
        async with self.database.driver() as connection:
            return await connection.fetchval(
                """INSERT INTO registry.model (name, prompt, creation_time_ms, last_updated_time_ms)
                VALUES ($1, $2, 1, 1) RETURNING model_id""",
                name,
                prompt,
            )

    async def add_version(
        self,
        model_id: int,
        version: int,
        metrics: Mapping[str, float] | None = None,
        *,
        status: int = 2,
        stage: int = 1,
        signature: str = "",
        uri: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A version, READY unless said otherwise, whose run has the metrics; its id."""
        version_id = uuid.uuid4().hex
        run_id = ""
        if metrics is not None:
            run_id = f"run{model_id}-{version}"
            self.runs.runs_by_id[run_id] = run_facts(run_id, metrics)
        uri = uri or f"runstream://model-versions/{version_id}"
        async with self.database.driver() as connection:
            await connection.execute(
                INSERT_VERSION, version_id, model_id, version, run_id, status, stage, signature, uri
            )
            for key, value in (tags or {}).items():
                await connection.execute(
                    "INSERT INTO registry.version_tag VALUES ($1, $2, $3)", version_id, key, value
                )
        return version_id

    async def model_with(self, *accuracies: float, name: str = "fraud") -> int:
        """A model with a version for each accuracy."""
        model_id = await self.add_model(name)
        for version, accuracy in enumerate(accuracies, start=1):
            await self.add_version(model_id, version, {"accuracy": accuracy})
        return model_id

    async def put_policy(self, *rules: Mapping[str, Any], name: str = "quality", **fields: Any) -> None:
        """A policy for everything, unless fields say otherwise."""
        document = {"models": "*", "targets": "*", "rules": list(rules), **fields}
        await self.parts.policies.put(name, document, actor="root", expected_revision=None, reason="")

    async def promote(self, version: int | None, target: Target = CHAMPION, **fields: Any) -> Any:
        """Promote a version of the model "fraud"; None rolls back."""
        order = {"name": "fraud", "actor": "ada", **fields}
        return await self.parts.promotions.promote(PromotionOrder(version=version, target=target, **order))

    async def held(self, target: Target = CHAMPION) -> int | None:
        """The version that an alias holds; None when there is no such alias."""
        return await self.value("SELECT version FROM registry.alias WHERE alias = $1", target.name)

    async def stages(self) -> dict[int, int]:
        """Version to stage."""
        rows = await self.rows("SELECT version, stage FROM registry.version ORDER BY version")
        return {row["version"]: row["stage"] for row in rows}

    async def events(self, topic: str = "model-promoted") -> list[dict[str, Any]]:
        """What lies in the outbox for a topic, oldest first."""
        rows = await self.rows("SELECT payload FROM registry.outbox WHERE queue = $1 ORDER BY id", topic)
        return [json.loads(row["payload"]) for row in rows]

    async def rows(self, statement: str, *values: object) -> list[Any]:
        """Rows of any statement."""
        async with self.database.driver() as connection:
            return await connection.fetch(statement, *values)

    async def value(self, statement: str, *values: object) -> Any:
        """The first value of any statement."""
        async with self.database.driver() as connection:
            return await connection.fetchval(statement, *values)

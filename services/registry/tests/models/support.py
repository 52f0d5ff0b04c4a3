"""Stand-ins for other services, and short ways to what tests look at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from runstream_common.clock import ManualClock
from runstream_common.database import Database
from runstream_common.errors import FailedPrecondition, NotFound, Unavailable
from runstream_registry.api.model_service import ModelUseCases
from runstream_registry.artifact_client import FileOwner, TreeFacts
from runstream_registry.entities import NewVersion, RunFacts, Stage, Version
from runstream_registry.models.models import NewModel

EXTERNAL = "s3://models/one"


class MemoryFiles:
    """File trees in memory with the rules of the artifact service: copies of pointers, sealed trees, digests."""

    def __init__(self) -> None:
        self.trees: dict[FileOwner, dict[str, bytes]] = {}
        self.sealed: set[FileOwner] = set()
        self.away = False

    def put(self, owner: FileOwner, files: dict[str, bytes]) -> None:
        """Store files."""
        self.trees.setdefault(owner, {}).update(files)

    async def copy_sealed(self, source: FileOwner, path: str, target: FileOwner) -> TreeFacts:
        """Copy a file or directory to the root of another tree, and seal that."""
        self._check()
        files = self.trees.get(source, {})
        below = {
            name.removeprefix(f"{path}/"): data for name, data in files.items() if name.startswith(f"{path}/")
        }
        chosen = dict(files) if not path else below
        if path in files:
            chosen = {path.rpartition("/")[2]: files[path]}
        if not chosen:
            raise NotFound(f"there is nothing at {path!r}", reason="ARTIFACT_NOT_FOUND")
        if target in self.sealed and self.trees[target] != chosen:
            raise FailedPrecondition("the tree is sealed", reason="TREE_SEALED")
        self.trees[target] = chosen
        self.sealed.add(target)
        return self.tree(target)

    async def read_file(self, owner: FileOwner, path: str, *, max_bytes: int) -> bytes | None:
        """A small file's content."""
        self._check()
        content = self.trees.get(owner, {}).get(path)
        return content if content is None or len(content) <= max_bytes else None

    def tree(self, owner: FileOwner) -> TreeFacts:
        """Digest and size of a tree, as ``runstream.artifact.v1.Tree`` defines them."""
        files = sorted(self.trees[owner].items(), key=lambda item: item[0].encode())
        lines = [f"{hashlib.sha256(data).hexdigest()} {len(data)} {path}\n" for path, data in files]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        return TreeFacts(digest, len(files), sum(len(data) for _, data in files), owner in self.sealed)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the artifact service is away", reason="UNAVAILABLE")


class MemoryRuns:
    """Runs in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, RunFacts] = {}
        self.away = False

    async def run(self, run_id: str) -> RunFacts | None:
        """Facts of a run."""
        if self.away:
            raise Unavailable("the metadata service is away", reason="UNAVAILABLE")
        return self.runs.get(run_id)


@dataclass
class Registry:
    """The use cases of models over a database, and what they leave there."""

    database: Database
    clock: ManualClock
    files: MemoryFiles
    runs: MemoryRuns
    use: ModelUseCases
    wakes: list[None] = field(default_factory=list)

    async def model(self, name: str = "iris", **fields: Any) -> None:
        """Create a model."""
        await self.use.models.create(NewModel(name, "ada", **fields))

    async def version(self, name: str = "iris", source: str = EXTERNAL, **fields: Any) -> Version:
        """Create a version."""
        return (await self.use.versions.create(NewVersion(name=name, source=source, actor="ada", **fields)))[
            0
        ]

    async def point(self, name: str, alias: str, version: int) -> None:
        """Set an alias as a promotion does."""
        async with self.database.driver() as connection:
            await connection.execute(
                "INSERT INTO registry.alias SELECT model_id, $2, $3 FROM registry.model "
                "WHERE name = $1 AND deleted_time_ms IS NULL",
                name,
                alias,
                version,
            )

    async def stage(self, name: str, version: int, stage: Stage) -> None:
        """Set a stage as a promotion does."""
        async with self.database.driver() as connection:
            await connection.execute(
                "UPDATE registry.version AS v SET stage = $3 FROM registry.model AS m "
                "WHERE m.model_id = v.model_id AND m.name = $1 AND v.version = $2",
                name,
                version,
                stage,
            )

    async def actions(self) -> list[tuple[str, str, int]]:
        """Action, subject and version of all audit entries, in the order of their chains."""
        rows = await self._fetch("SELECT content FROM registry.audit_entry ORDER BY chain, sequence")
        entries = [json.loads(row["content"]) for row in rows]
        return [(entry["action"], entry["subject"], entry["version"]) for entry in entries]

    async def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Topic, key and value of all events in the outbox, oldest first."""
        rows = await self._fetch("SELECT queue, payload, headers FROM registry.outbox ORDER BY id")
        return [(row["queue"], json.loads(row["headers"])["key"], json.loads(row["payload"])) for row in rows]

    async def _fetch(self, statement: str) -> list[Any]:
        async with self.database.driver() as connection:
            rows: list[Any] = await connection.fetch(statement)
            return rows

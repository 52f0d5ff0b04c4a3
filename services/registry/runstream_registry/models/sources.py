"""Where the files of a new version come from, and how it gets a copy of its own.

A version owns its files: what is logged to the run afterwards does not change it. The copy consists of pointers to
contents, is made before the version's row, and is sealed. It belongs to the version's id, so that a repeated call repeats
the copy without harm.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, assert_never

from runstream_common.errors import InvalidArgument, NotFound

from runstream_registry.artifact_client import FileOwner
from runstream_registry.entities import Artifacts, Parent
from runstream_registry.errors import (
    AliasNotFound,
    ModelNotFound,
    NoFiles,
    SourceNotFound,
    VersionNotFound,
)
from runstream_registry.models.lookups import existing_version
from runstream_registry.models.mlmodel import FILE_NAME, MAX_BYTES, ModelFacts, read_mlmodel
from runstream_registry.models.source_uris import (
    VERSION_ROOT,
    VERSION_SCHEME,
    ExternalFiles,
    LoggedModelFiles,
    RunFiles,
    VersionFiles,
    VersionIdFiles,
    parse_source,
)
from runstream_registry.store import version_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database

    from runstream_registry.artifact_client import TreeFacts
    from runstream_registry.entities import NewVersion, Version
    from runstream_registry.models.source_uris import Source

COPIED = "copied"
"""Relation of a version to the one that it was registered from."""


class FileStore(Protocol):
    """Copies and reads files; see ``ArtifactClient``."""

    async def copy_sealed(self, source: FileOwner, path: str, target: FileOwner) -> TreeFacts:
        """Copy to the root of another tree and make that immutable."""
        ...

    async def read_file(self, owner: FileOwner, path: str, *, max_bytes: int) -> bytes | None:
        """A small file's content; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source settles about a new version.

    Args:
        source: with the number instead of an alias or stage, as it is kept (MLflow).
        parents: as given, with the version that it is a copy of.
        problem: what could not be read of its files; empty when all is well.
    """

    source: str
    artifacts: Artifacts
    run_id: str
    logged_model_id: str
    parents: Sequence[Parent]
    signature_json: str
    flavors_json: str
    problem: str = ""


class Sources:
    """Resolves sources and copies their files."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files

    async def settle(self, new: NewVersion, version_id: str) -> SourceFacts:
        """Check a source and give the version its own copy of the files.

        Args:
            version_id: of the version to be.

        Raises:
            InvalidArgument: the source is not allowed, or disagrees with the run or logged model that is given.
            SourceNotFound: it names something that does not exist. Not for a version that may have any source.
            NoFiles: there are no files at it. Not for a version that may have any source.
            Unavailable: the artifact service is away.
        """
        try:
            return await self._settled(new, source_of(new), version_id)
        except (NoFiles, SourceNotFound):
            if not new.any_source:
                raise
            return _facts(new, Artifacts(new.source))

    async def _settled(self, new: NewVersion, source: Source, version_id: str) -> SourceFacts:
        match source:
            case ExternalFiles():
                return _facts(new, Artifacts(source.uri))
            case RunFiles():
                _agree("run_id", new.run_id, source.run_id)
                facts = _facts(dataclasses.replace(new, run_id=source.run_id), Artifacts(""))
                return await self._copied(facts, FileOwner.run(source.run_id), source.path, version_id)
            case LoggedModelFiles():
                _agree("logged_model_id", new.logged_model_id, source.model_id)
                facts = _facts(dataclasses.replace(new, logged_model_id=source.model_id), Artifacts(""))
                return await self._copied(
                    facts, FileOwner.logged_model(source.model_id), source.path, version_id
                )
            case VersionFiles() | VersionIdFiles():
                return await self._from_version(new, await self._source_version(source), version_id)
            case _:
                assert_never(source)

    async def _from_version(self, new: NewVersion, origin: Version, version_id: str) -> SourceFacts:
        """A copy of another version: its run, logged model, signature and flavors go along (MLflow)."""
        if origin.prompt:
            raise InvalidArgument.of("source", "names a version of a prompt, which has no files")
        _agree("run_id", new.run_id, origin.run_id)
        _agree("logged_model_id", new.logged_model_id, origin.logged_model_id)
        parents = list(new.parents)
        if all((parent.name, parent.version) != (origin.name, origin.version) for parent in parents):
            parents.append(Parent(origin.name, origin.version, COPIED))
        facts = _facts(
            dataclasses.replace(
                new,
                source=f"models:/{origin.name}/{origin.version}",
                run_id=origin.run_id,
                logged_model_id=origin.logged_model_id,
                parents=parents,
                signature_json=new.signature_json or origin.signature_json,
                flavors_json=new.flavors_json or origin.flavors_json,
            ),
            origin.artifacts,
        )
        if not origin.artifacts.digest:
            return facts
        return await self._copied(facts, FileOwner.version(origin.version_id), "", version_id)

    async def _source_version(self, source: Source) -> Version:
        async with self._database.driver() as connection:
            if isinstance(source, VersionIdFiles):
                found = await version_queries.select_versions(connection, [source.version_id])
                if not found:
                    raise SourceNotFound(f"there is no version with the id {source.version_id}")
                return found[0]
            if not isinstance(source, VersionFiles):
                raise TypeError(f"{type(source).__name__} names no version")
            model_exists, version = await version_queries.select_version(
                connection, source.name, source.selector
            )
        try:
            return existing_version(source.name, source.selector, model_exists, version)
        except (ModelNotFound, VersionNotFound, AliasNotFound) as error:
            raise SourceNotFound(f"source: {error.message}") from error

    async def _copied(self, facts: SourceFacts, owner: FileOwner, path: str, version_id: str) -> SourceFacts:
        target = FileOwner.version(version_id)
        tree = await self._copy(facts.source, owner, path, target)
        artifacts = Artifacts(version_uri(version_id), tree.digest, tree.file_count, tree.size_bytes)
        facts = dataclasses.replace(facts, artifacts=artifacts)
        if facts.signature_json and facts.flavors_json:
            return facts
        found = await self._mlmodel(target)
        return dataclasses.replace(
            facts,
            signature_json=facts.signature_json or found.signature_json,
            flavors_json=facts.flavors_json or found.flavors_json,
            problem=found.problem,
        )

    async def _copy(self, source: str, owner: FileOwner, path: str, target: FileOwner) -> TreeFacts:
        try:
            tree = await self._files.copy_sealed(owner, path, target)
        except NotFound as error:
            raise NoFiles(f"there are no files at {source!r}: {error.message}") from error
        if not tree.file_count:
            raise NoFiles(f"there are no files at {source!r}")
        return tree

    async def _mlmodel(self, owner: FileOwner) -> ModelFacts:
        content = await self._files.read_file(owner, FILE_NAME, max_bytes=MAX_BYTES)
        return ModelFacts() if content is None else read_mlmodel(content)


def source_of(new: NewVersion) -> Source:
    """What the source of a new version names.

    Raises:
        InvalidArgument: see ``parse_source``; never for a version that may have any source.
    """
    try:
        return parse_source(new.source)
    except InvalidArgument:
        if not new.any_source:
            raise
        return ExternalFiles(new.source)


def version_uri(version_id: str) -> str:
    """Where clients fetch the files of a version from."""
    return f"{VERSION_SCHEME}://{VERSION_ROOT}/{version_id}"


def _facts(new: NewVersion, artifacts: Artifacts) -> SourceFacts:
    return SourceFacts(
        source=new.source,
        artifacts=artifacts,
        run_id=new.run_id,
        logged_model_id=new.logged_model_id,
        parents=new.parents,
        signature_json=new.signature_json,
        flavors_json=new.flavors_json,
    )


def _agree(field: str, given: str, named: str) -> None:
    if given and given != named:
        raise InvalidArgument.of(field, f"is {given}, but the source belongs to {named or 'none'}")

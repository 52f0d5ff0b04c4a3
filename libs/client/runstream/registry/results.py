"""Registered models, their versions and where they came from, as the client returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream.registry.lineage_tree import lineage_tree, tree_html
from runstream.registry.shapes import Result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class ArtifactTree(Result):
    """Where a version's files are.

    Attributes:
        uri: "runstream://model-versions/<version id>" for files of ours, else the given source.
        digest: SHA-256 over the tree; empty for files that are kept elsewhere.
        file_count: 0 when kept elsewhere.
        size_bytes: 0 when kept elsewhere.
    """

    uri: str
    digest: str
    file_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ParentVersion(Result):
    """A version that another one was made from.

    Attributes:
        name: model.
        relation: how, e.g. "fine-tuned"; may be empty.
    """

    name: str
    version: int
    relation: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion(Result):
    """A version of a registered model.

    Attributes:
        version_id: 32 lowercase hexadecimal characters; survives a rename of the model.
        source: as given when it was created.
        run_id: run that made it; may be empty.
        run_link: link to the run when it is in another deployment; may be empty.
        user_id: who registered it.
        status: "PENDING", "READY" or "FAILED".
        stage: "None", "Staging", "Production" or "Archived".
        signature: as in MLflow's MLmodel; None when unknown.
        flavors: as in MLflow's MLmodel, by name; empty when unknown.
        parents: versions that it was made from.
    """

    name: str
    version: int
    version_id: str
    source: str
    run_id: str
    logged_model_id: str
    run_link: str
    description: str
    user_id: str
    status: str
    status_message: str
    stage: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    creation_time: datetime
    last_updated_time: datetime
    artifacts: ArtifactTree
    signature: Any
    flavors: Mapping[str, Any]
    parents: tuple[ParentVersion, ...]


@dataclass(frozen=True, slots=True)
class RegisteredModel(Result):
    """A registered model.

    Attributes:
        aliases: version by alias.
        latest_versions: highest version of each stage that has any.
        promotion_sequence: number of the last promotion; 0 when there was none.
        version_count: versions that are not deleted.
    """

    name: str
    description: str
    creation_time: datetime
    last_updated_time: datetime
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    latest_versions: tuple[ModelVersion, ...]
    promotion_sequence: int
    version_count: int


@dataclass(frozen=True, slots=True)
class ResolvedVersion(Result):
    """Where a number, alias or stage points, and where the files are."""

    name: str
    version: int
    version_id: str
    artifacts: ArtifactTree
    run_id: str
    source: str


@dataclass(frozen=True, slots=True)
class LineageDataset(Result):
    """A dataset that the run of a version read; `context` is what it was used for, e.g. "training"."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str


@dataclass(frozen=True, slots=True)
class LineageRun(Result):
    """The run that made a version.

    Attributes:
        git_commit: may be empty.
        git_repository: may be empty.
        source_name: script or notebook; may be empty.
        lifecycle_stage: "active", "deleted", or "unknown" when the metadata service does not know it.
    """

    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    git_commit: str
    git_repository: str
    source_name: str
    datasets: tuple[LineageDataset, ...]
    lifecycle_stage: str


@dataclass(frozen=True, slots=True)
class LineageVersion(Result):
    """An ancestor or descendant of a version.

    Attributes:
        generation: distance in generations, from 1.
        link: the next version on the way to the asked one, and how the two are related.
    """

    name: str
    version: int
    generation: int
    link: ParentVersion
    run_id: str


@dataclass(frozen=True, slots=True)
class LineagePromotion(Result):
    """A promotion of the version; `current` says whether it is still there."""

    target_kind: str
    target: str
    sequence: int
    time: datetime
    actor: str
    current: bool


@dataclass(frozen=True, slots=True)
class Lineage(Result):
    """Where a version came from and where it went.

    Attributes:
        run: None when no run made it.
        ancestors: versions that it was made from, nearest first.
        descendants: versions that were made from it, nearest first.
        promotions: newest first.
    """

    version: ModelVersion
    run: LineageRun | None
    ancestors: tuple[LineageVersion, ...]
    descendants: tuple[LineageVersion, ...]
    promotions: tuple[LineagePromotion, ...]

    def _repr_html_(self) -> str:
        return tree_html(lineage_tree(self))

"""Between messages of ``runstream.registry.v1`` and the values of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types

from runstream_registry import rules
from runstream_registry.entities import (
    GIT_COMMIT_TAG,
    GIT_REPOSITORY_TAG,
    SOURCE_NAME_TAG,
    ByAlias,
    ByNumber,
    ByStage,
    Parent,
    Stage,
    VersionStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_registry.entities import (
        Artifacts,
        Model,
        PromotionFact,
        Relative,
        Selector,
        Version,
    )
    from runstream_registry.models.lineage import Lineage


def pairs(items: Iterable[types.Tag]) -> list[tuple[str, str]]:
    """Tags as they came, repeats included."""
    return [(item.key, item.value) for item in items]


def parents(items: Iterable[types.ParentVersion]) -> list[Parent]:
    """Parents as they came."""
    return [Parent(item.name, item.version, item.relation) for item in items]


def stage(number: int, field: str = "stage") -> Stage:
    """The stage.

    Raises:
        InvalidArgument: it is unspecified or not known.
    """
    try:
        return Stage(number)
    except ValueError as error:
        raise InvalidArgument.of(field, "must be one of NONE, STAGING, PRODUCTION, ARCHIVED") from error


def status_or_none(number: int) -> VersionStatus | None:
    """The status; None when it is unspecified.

    Raises:
        InvalidArgument: the number is not known.
    """
    try:
        return VersionStatus(number) if number else None
    except ValueError as error:
        raise InvalidArgument.of("status", f"{number} is not a status") from error


def selector(message: pb.VersionSelector) -> Selector:
    """Which version is meant.

    Raises:
        InvalidArgument: no field or a wrong value is set.
    """
    match message.WhichOneof("selector"):
        case "version":
            return ByNumber(rules.version_number(message.version, "selector.version"))
        case "alias":
            return ByAlias(rules.alias(message.alias, field="selector.alias", reserved=True))
        case "stage":
            return ByStage(stage(message.stage, "selector.stage"))
        case _:
            raise InvalidArgument.of("selector", "needs a version, an alias or a stage")


def model_message(model: Model) -> types.RegisteredModel:
    """The model as clients see it."""
    return types.RegisteredModel(
        name=model.name,
        description=model.description,
        creation_time_ms=model.creation_time_ms,
        last_updated_time_ms=model.last_updated_time_ms,
        tags=_tags(model.tags),
        aliases=[types.Alias(alias=alias, version=version) for alias, version in model.aliases.items()],
        latest_versions=[version_message(version) for version in model.latest_versions],
        promotion_sequence=model.promotion_sequence,
        version_count=model.version_count,
    )


def version_message(version: Version) -> types.ModelVersion:
    """The version as clients see it, with the data it was loaded with."""
    return types.ModelVersion(
        name=version.name,
        version=version.version,
        version_id=version.version_id,
        source=version.source,
        run_id=version.run_id,
        logged_model_id=version.logged_model_id,
        run_link=version.run_link,
        description=version.description,
        user_id=version.user_id,
        status=types.VersionStatus.ValueType(version.status),
        status_message=version.status_message,
        stage=types.Stage.ValueType(version.stage),
        aliases=version.aliases,
        tags=_tags(version.tags),
        creation_time_ms=version.creation_time_ms,
        last_updated_time_ms=version.last_updated_time_ms,
        artifacts=artifacts_message(version.artifacts),
        signature_json=version.signature_json,
        flavors_json=version.flavors_json,
        parents=[_parent(parent) for parent in version.parents],
        storage_location=version.storage_location,
    )


def artifacts_message(artifacts: Artifacts) -> types.ArtifactTree:
    """Where files are, as clients see it."""
    return types.ArtifactTree(
        uri=artifacts.uri,
        digest=artifacts.digest,
        file_count=artifacts.file_count,
        size_bytes=artifacts.size_bytes,
    )


def lineage_message(lineage: Lineage) -> pb.GetLineageResponse:
    """The lineage as clients see it."""
    return pb.GetLineageResponse(
        version=version_message(lineage.version),
        run=_lineage_run(lineage),
        ancestors=[_relative(item) for item in lineage.ancestors],
        descendants=[_relative(item) for item in lineage.descendants],
        promotions=[_promotion(item) for item in lineage.promotions],
    )


def _lineage_run(lineage: Lineage) -> pb.LineageRun | None:
    run = lineage.run
    if run is None:
        run_id = lineage.version.run_id
        return pb.LineageRun(run_id=run_id, lifecycle_stage="unknown") if run_id else None
    return pb.LineageRun(
        run_id=run.run_id,
        run_name=run.name,
        experiment_id=run.experiment_id,
        user_id=run.user_id,
        git_commit=run.tags.get(GIT_COMMIT_TAG, ""),
        git_repository=run.tags.get(GIT_REPOSITORY_TAG, ""),
        source_name=run.tags.get(SOURCE_NAME_TAG, ""),
        datasets=[
            pb.LineageDataset(
                name=item.name,
                digest=item.digest,
                source_type=item.source_type,
                source=item.source,
                context=item.context,
            )
            for item in run.datasets
        ],
        lifecycle_stage="deleted" if run.deleted else "active",
    )


def _relative(item: Relative) -> pb.LineageVersion:
    return pb.LineageVersion(
        name=item.name,
        version=item.version,
        generation=item.generation,
        link=types.ParentVersion(name=item.near_name, version=item.near_version, relation=item.relation),
        run_id=item.run_id,
        deleted=item.deleted,
    )


def _promotion(item: PromotionFact) -> pb.LineagePromotion:
    return pb.LineagePromotion(
        target_kind=item.target_kind,
        target=item.target,
        sequence=item.sequence,
        time_ms=item.time_ms,
        actor=item.actor,
        current=item.current,
    )


def _parent(parent: Parent) -> types.ParentVersion:
    return types.ParentVersion(name=parent.name, version=parent.version, relation=parent.relation)


def _tags(tags: Mapping[str, str]) -> list[types.Tag]:
    return [types.Tag(key=key, value=value) for key, value in tags.items()]

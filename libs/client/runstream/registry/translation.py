"""Answers about models and versions as the types of `results`: the only place that knows both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runstream_proto.registry.v1 import types_pb2 as types_pb

from runstream.query.frames import time_of
from runstream.registry.results import (
    ArtifactTree,
    Lineage,
    LineageDataset,
    LineagePromotion,
    LineageRun,
    LineageVersion,
    ModelVersion,
    ParentVersion,
    RegisteredModel,
    ResolvedVersion,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_proto.registry.v1 import model_service_pb2 as model_pb

STAGE_NUMBERS = {
    "None": types_pb.STAGE_NONE,
    "Staging": types_pb.STAGE_STAGING,
    "Production": types_pb.STAGE_PRODUCTION,
    "Archived": types_pb.STAGE_ARCHIVED,
}
_STAGES = {number: name for name, number in STAGE_NUMBERS.items()}
_STATUS_PREFIX = "VERSION_STATUS_"
VERSION_STATUS_NUMBERS = {
    name.removeprefix(_STATUS_PREFIX): number for name, number in types_pb.VersionStatus.items() if number
}


def name_of(number: int, names: Mapping[str, int]) -> str:
    """The name of an enum's number; a newer server may know one that this client does not."""
    return next((name for name, known in names.items() if known == number), f"UNKNOWN_{number}")


def tags_to_proto(tags: Mapping[str, object] | None) -> list[types_pb.Tag]:
    """Tags as a request takes them; values are made text."""
    return [types_pb.Tag(key=key, value=str(value)) for key, value in (tags or {}).items()]


def text_map(tags: Iterable[types_pb.Tag]) -> dict[str, str]:
    """Tags by key."""
    return {tag.key: tag.value for tag in tags}


def tree_of(message: types_pb.ArtifactTree) -> ArtifactTree:
    """Where files are, in an answer."""
    return ArtifactTree(message.uri, message.digest, message.file_count, message.size_bytes)


def parent_of(message: types_pb.ParentVersion) -> ParentVersion:
    """The parent in an answer."""
    return ParentVersion(message.name, message.version, message.relation)


def version_of(message: types_pb.ModelVersion) -> ModelVersion:
    """The version in an answer."""
    return ModelVersion(
        name=message.name,
        version=message.version,
        version_id=message.version_id,
        source=message.source,
        run_id=message.run_id,
        logged_model_id=message.logged_model_id,
        run_link=message.run_link,
        description=message.description,
        user_id=message.user_id,
        status=name_of(message.status, VERSION_STATUS_NUMBERS),
        status_message=message.status_message,
        stage=_STAGES.get(message.stage, "None"),
        aliases=tuple(message.aliases),
        tags=text_map(message.tags),
        creation_time=time_of(message.creation_time_ms),
        last_updated_time=time_of(message.last_updated_time_ms),
        artifacts=tree_of(message.artifacts),
        signature=_parsed(message.signature_json),
        flavors=_parsed(message.flavors_json) or {},
        parents=tuple(parent_of(item) for item in message.parents),
    )


def model_of(message: types_pb.RegisteredModel) -> RegisteredModel:
    """The model in an answer."""
    return RegisteredModel(
        name=message.name,
        description=message.description,
        creation_time=time_of(message.creation_time_ms),
        last_updated_time=time_of(message.last_updated_time_ms),
        tags=text_map(message.tags),
        aliases={item.alias: item.version for item in message.aliases},
        latest_versions=tuple(version_of(item) for item in message.latest_versions),
        promotion_sequence=message.promotion_sequence,
        version_count=message.version_count,
    )


def resolved_of(name: str, message: model_pb.ResolveVersionResponse) -> ResolvedVersion:
    """Where a number, alias or stage of a model points, in an answer."""
    return ResolvedVersion(
        name,
        message.version,
        message.version_id,
        tree_of(message.artifacts),
        message.run_id,
        message.source,
    )


def lineage_of(message: model_pb.GetLineageResponse) -> Lineage:
    """The lineage in an answer."""
    return Lineage(
        version=version_of(message.version),
        run=_lineage_run(message.run) if message.HasField("run") else None,
        ancestors=tuple(_lineage_version(item) for item in message.ancestors),
        descendants=tuple(_lineage_version(item) for item in message.descendants),
        promotions=tuple(
            LineagePromotion(
                p.target_kind, p.target, p.sequence, time_of(p.time_ms), p.actor, current=p.current
            )
            for p in message.promotions
        ),
    )


def _lineage_run(message: model_pb.LineageRun) -> LineageRun:
    return LineageRun(
        run_id=message.run_id,
        run_name=message.run_name,
        experiment_id=message.experiment_id,
        user_id=message.user_id,
        git_commit=message.git_commit,
        git_repository=message.git_repository,
        source_name=message.source_name,
        datasets=tuple(
            LineageDataset(d.name, d.digest, d.source_type, d.source, d.context) for d in message.datasets
        ),
        lifecycle_stage=message.lifecycle_stage,
    )


def _lineage_version(message: model_pb.LineageVersion) -> LineageVersion:
    link = parent_of(message.link)
    return LineageVersion(message.name, message.version, message.generation, link, message.run_id)


def _parsed(text: str) -> Any:
    """JSON that a client of another kind may have stored as something else; that stays text."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text

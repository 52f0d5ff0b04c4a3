"""Registered models and versions as MLflow's JSON, built without protobuf reflection.

The shapes are those of MLflow 3.17's RegisteredModel and ModelVersion messages as its SQL store fills them: which empty
fields are printed and which are left out is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_proto.registry.v1 import types_pb2 as types

JsonObject: TypeAlias = dict[str, Any]

_STAGE_NAMES: Final = ("None", "None", "Staging", "Production", "Archived")
"""MLflow's names by number of ``Stage``; a stored version always has one, so the first is never asked for."""

_STATUS_NAMES: Final = ("READY", "PENDING_REGISTRATION", "READY", "FAILED_REGISTRATION")


def model_json(model: types.RegisteredModel, *, stages_by_name: bool = False) -> JsonObject:
    """MLflow's RegisteredModel; its versions are without their aliases, as in MLflow.

    Args:
        model: with all its data.
        stages_by_name: order the latest versions by the names of their stages, as MLflow's search does; else as they come,
            which is how MLflow reads a single model.
    """
    answer: JsonObject = {
        "name": model.name,
        "creation_timestamp": model.creation_time_ms,
        "last_updated_timestamp": model.last_updated_time_ms,
    }
    if model.description:
        answer["description"] = model.description
    if model.latest_versions:
        latest = [version_json(item, aliases=False) for item in model.latest_versions]
        answer["latest_versions"] = sorted(latest, key=_stage_of) if stages_by_name else latest
    if model.tags:
        answer["tags"] = _tags_json(model.tags)
    if model.aliases:
        answer["aliases"] = [{"alias": item.alias, "version": str(item.version)} for item in model.aliases]
    return answer


def version_json(version: types.ModelVersion, *, aliases: bool = True) -> JsonObject:
    """MLflow's ModelVersion.

    Args:
        version: with all its data.
        aliases: whether to tell what points at it; searches leave them out.
    """
    answer: JsonObject = {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": version.creation_time_ms,
        "last_updated_timestamp": version.last_updated_time_ms,
        "current_stage": _STAGE_NAMES[version.stage],
        "source": version.source,
        "run_id": version.run_id,
        "run_link": version.run_link,
        "status": _STATUS_NAMES[version.status],
    }
    if version.HasField("description"):
        answer["description"] = version.description
    if version.status_message:
        answer["status_message"] = version.status_message
    if version.tags:
        answer["tags"] = _tags_json(version.tags)
    if aliases and version.aliases:
        answer["aliases"] = list(version.aliases)
    return answer


def _stage_of(version: JsonObject) -> str:
    stage: str = version["current_stage"]
    return stage


def _tags_json(tags: Iterable[types.Tag]) -> list[JsonObject]:
    return [{"key": tag.key, "value": tag.value} for tag in tags]

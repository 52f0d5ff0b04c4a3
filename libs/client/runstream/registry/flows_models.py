"""Flows over registered models and their versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types_pb

from runstream.query.client_calls import Flow, Page, ready
from runstream.query.client_runs import number_of
from runstream.registry.calls import MODELS, ask, nothing, selector_of, stage_number, version_number
from runstream.registry.translation import (
    VERSION_STATUS_NUMBERS,
    lineage_of,
    model_of,
    resolved_of,
    tags_to_proto,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runstream.registry.results import (
        Lineage,
        ModelVersion,
        ParentVersion,
        RegisteredModel,
        ResolvedVersion,
    )

# Models


def create_model(
    name: str, description: str, tags: Mapping[str, object] | None, *, get_if_exists: bool
) -> Flow[RegisteredModel]:
    """Create a model, or get the one of that name."""
    request = pb.CreateModelRequest(
        name=name, description=description, tags=tags_to_proto(tags), get_if_exists=get_if_exists
    )
    return ask(MODELS, "CreateModel", request, lambda a: model_of(a.model))


def get_model(name: str) -> Flow[RegisteredModel]:
    """Read one model."""
    return ask(MODELS, "GetModel", pb.GetModelRequest(name=name), lambda a: model_of(a.model))


def update_model(name: str, description: str) -> Flow[RegisteredModel]:
    """Change the description."""
    request = pb.UpdateModelRequest(name=name, description=description)
    return ask(MODELS, "UpdateModel", request, lambda a: model_of(a.model))


def rename_model(name: str, new_name: str) -> Flow[RegisteredModel]:
    """Give a model another name."""
    request = pb.RenameModelRequest(name=name, new_name=new_name)
    return ask(MODELS, "RenameModel", request, lambda a: model_of(a.model))


def delete_model(name: str) -> Flow[None]:
    """Delete a model with its versions."""
    return ask(MODELS, "DeleteModel", pb.DeleteModelRequest(name=name), nothing)


def search_models_request(
    filter_text: str, order_by: Sequence[str], page_size: int
) -> Flow[pb.SearchModelsRequest]:
    """The first page's request."""
    return ready(pb.SearchModelsRequest(filter=filter_text, order_by=order_by, page_size=page_size))


def model_page(request: pb.SearchModelsRequest) -> Flow[Page[RegisteredModel]]:
    """One page of a search; its token goes into the request for the next."""
    return ask(
        MODELS,
        "SearchModels",
        request,
        lambda a: Page(tuple(model_of(item) for item in a.models), a.next_page_token),
    )


def set_tags(name: str, tags: Mapping[str, object], version: int | str | None) -> Flow[None]:
    """Set tags of a model, or of one of its versions."""
    number = 0 if version is None else (yield from version_number(name, version))
    request = pb.ChangeTagsRequest(name=name, version=number, set=tags_to_proto(tags))
    yield from ask(MODELS, "ChangeTags", request, nothing)


def delete_tags(name: str, keys: Iterable[str], version: int | str | None) -> Flow[None]:
    """Delete tags of a model, or of one of its versions."""
    number = 0 if version is None else (yield from version_number(name, version))
    request = pb.ChangeTagsRequest(name=name, version=number, delete_keys=keys)
    yield from ask(MODELS, "ChangeTags", request, nothing)


# Versions


def create_version(
    name: str,
    source: str,
    *,
    run_id: str,
    logged_model_id: str,
    run_link: str,
    description: str,
    tags: Mapping[str, object] | None,
    signature: Any,
    flavors: Any,
    parents: Sequence[ParentVersion],
    version_id: str,
    create_model: bool,
) -> Flow[ModelVersion]:
    """Create the next version under an id that is chosen here, so that the call may be repeated."""
    request = pb.CreateVersionRequest(
        name=name,
        source=source,
        run_id=run_id,
        logged_model_id=logged_model_id,
        run_link=run_link,
        description=description,
        tags=tags_to_proto(tags),
        signature_json=json_text(signature),
        flavors_json=json_text(flavors),
        parents=[
            types_pb.ParentVersion(name=item.name, version=item.version, relation=item.relation)
            for item in parents
        ],
        version_id=version_id or uuid4().hex,
        create_model=create_model,
    )
    return ask(MODELS, "CreateVersion", request, lambda a: version_of(a.version))


def json_text(value: Any) -> str:
    """JSON of a value; a text is taken as JSON already, None is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def get_version(name: str, version: int | str | None, alias: str, stage: str) -> Flow[ModelVersion]:
    """Read one version by number, alias or stage."""
    request = pb.GetVersionRequest(name=name, selector=selector_of(version, alias, stage))
    return ask(MODELS, "GetVersion", request, lambda a: version_of(a.version))


def update_version(
    name: str, version: int | str, *, description: str | None, signature: Any, flavors: Any, status: str
) -> Flow[ModelVersion]:
    """Change what is given."""
    request = pb.UpdateVersionRequest(name=name, version=(yield from version_number(name, version)))
    if description is not None:
        request.description = description
    if signature is not None:
        request.signature_json = json_text(signature)
    if flavors is not None:
        request.flavors_json = json_text(flavors)
    if status:
        request.status = number_of("status", status, VERSION_STATUS_NUMBERS)
    updated: ModelVersion = yield from ask(MODELS, "UpdateVersion", request, lambda a: version_of(a.version))
    return updated


def delete_version(name: str, version: int | str) -> Flow[None]:
    """Delete a version and its aliases."""
    number = yield from version_number(name, version)
    yield from ask(MODELS, "DeleteVersion", pb.DeleteVersionRequest(name=name, version=number), nothing)


def search_versions_request(
    filter_text: str, order_by: Sequence[str], page_size: int
) -> Flow[pb.SearchVersionsRequest]:
    """The first page's request."""
    return ready(pb.SearchVersionsRequest(filter=filter_text, order_by=order_by, page_size=page_size))


def version_page(request: pb.SearchVersionsRequest) -> Flow[Page[ModelVersion]]:
    """One page of a search; its token goes into the request for the next."""
    return ask(
        MODELS,
        "SearchVersions",
        request,
        lambda a: Page(tuple(version_of(item) for item in a.versions), a.next_page_token),
    )


def latest_versions(name: str, stages: Sequence[str]) -> Flow[tuple[ModelVersion, ...]]:
    """The highest version of each stage."""
    request = pb.GetLatestVersionsRequest(name=name, stages=[stage_number(stage) for stage in stages])
    return ask(MODELS, "GetLatestVersions", request, lambda a: tuple(map(version_of, a.versions)))


def resolve(name: str, version: int | str | None, alias: str, stage: str) -> Flow[ResolvedVersion]:
    """Where a number, alias or stage points."""
    request = pb.ResolveVersionRequest(name=name, selector=selector_of(version, alias, stage))
    return ask(MODELS, "ResolveVersion", request, lambda a: resolved_of(name, a))


def delete_alias(name: str, alias: str) -> Flow[None]:
    """Delete an alias; a missing one is harmless."""
    request = pb.DeleteAliasRequest(name=name, alias=alias.removeprefix("@"))
    return ask(MODELS, "DeleteAlias", request, nothing)


def lineage(name: str, version: int | str, depth: int) -> Flow[Lineage]:
    """Where a version came from and where it went."""
    number = yield from version_number(name, version)
    request = pb.GetLineageRequest(name=name, version=number, depth=depth)
    found: Lineage = yield from ask(MODELS, "GetLineage", request, lineage_of)
    return found


def record_evaluation(
    name: str, version: int | str, evaluation: str, *, passed: bool, summary: str, url: str
) -> Flow[None]:
    """Record the outcome of an evaluation."""
    number = yield from version_number(name, version)
    request = pb.RecordEvaluationRequest(
        name=name, version=number, evaluation=evaluation, passed=passed, summary=summary, url=url
    )
    yield from ask(MODELS, "RecordEvaluation", request, nothing)

"""Requests of ModelService as values of this service, checked field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations

from runstream_registry import rules
from runstream_registry.api import mapping
from runstream_registry.entities import NewVersion
from runstream_registry.models.evaluations import NewEvaluation
from runstream_registry.models.models import NewModel
from runstream_registry.models.versions import VersionUpdate
from runstream_registry.search.searches import Search

if TYPE_CHECKING:
    from runstream_proto.registry.v1 import model_service_pb2 as pb


def new_model(request: pb.CreateModelRequest, actor: str) -> NewModel:
    """A model to create.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    rules.model_name(request.name, violations)
    rules.text("description", request.description, rules.MAX_TEXT_LENGTH, violations)
    tags = rules.tags(mapping.pairs(request.tags), violations)
    violations.check()
    return NewModel(request.name, actor, request.description, tags)


def description(request: pb.UpdateModelRequest) -> str:
    """A description to set.

    Raises:
        InvalidArgument: it is too long.
    """
    violations = Violations()
    rules.text("description", request.description, rules.MAX_TEXT_LENGTH, violations)
    violations.check()
    return request.description


def new_name(request: pb.RenameModelRequest) -> str:
    """A name to give.

    Raises:
        InvalidArgument: it cannot be one.
    """
    violations = Violations()
    rules.model_name(request.new_name, violations, field="new_name")
    violations.check()
    return request.new_name


def new_version(request: pb.CreateVersionRequest, actor: str) -> NewVersion:
    """A version to create; what its source says is checked later.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    rules.model_name(request.name, violations)
    if not request.source:
        violations.add("source", "is required")
    for field, limit in (
        ("source", rules.MAX_URI_LENGTH),
        ("run_id", rules.MAX_ID_LENGTH),
        ("logged_model_id", rules.MAX_ID_LENGTH),
        ("run_link", rules.MAX_URI_LENGTH),
        ("storage_location", rules.MAX_URI_LENGTH),
        ("description", rules.MAX_TEXT_LENGTH),
    ):
        rules.text(field, getattr(request, field), limit, violations)
    rules.json_object("signature_json", request.signature_json, violations)
    rules.json_object("flavors_json", request.flavors_json, violations)
    rules.version_id(request.version_id, violations)
    tags = rules.tags(mapping.pairs(request.tags), violations)
    parents = mapping.parents(request.parents)
    rules.parents(parents, violations)
    violations.check()
    return NewVersion(
        name=request.name,
        source=request.source,
        actor=actor,
        run_id=request.run_id,
        logged_model_id=request.logged_model_id,
        run_link=request.run_link,
        description=request.description,
        tags=tags,
        signature_json=request.signature_json,
        flavors_json=request.flavors_json,
        parents=parents,
        version_id=request.version_id,
        create_model=request.create_model,
        any_source=request.any_source,
        storage_location=request.storage_location,
    )


def version_update(request: pb.UpdateVersionRequest) -> VersionUpdate:
    """What to change of a version.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    rules.text("description", request.description, rules.MAX_TEXT_LENGTH, violations)
    rules.json_object("signature_json", request.signature_json, violations)
    rules.json_object("flavors_json", request.flavors_json, violations)
    if request.clear_description and request.HasField("description"):
        violations.add("clear_description", "does not go together with a description")
    violations.check()
    return VersionUpdate(
        description=request.description if request.HasField("description") else None,
        clear_description=request.clear_description,
        signature_json=request.signature_json if request.HasField("signature_json") else None,
        flavors_json=request.flavors_json if request.HasField("flavors_json") else None,
        status=mapping.status_or_none(request.status),
    )


def tag_changes(request: pb.ChangeTagsRequest) -> tuple[dict[str, str], list[str]]:
    """Tags to set, and keys to delete.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    to_set = rules.tags(mapping.pairs(request.set), violations, field="set")
    if len(request.delete_keys) > rules.MAX_TAGS:
        violations.add(
            "delete_keys", f"has {len(request.delete_keys)} entries, at most {rules.MAX_TAGS} are allowed"
        )
    for index, key in enumerate(request.delete_keys):
        rules.tag_key(f"delete_keys[{index}]", key, violations)
        if key in to_set:
            violations.add(f"delete_keys[{index}]", f"{key!r} is also set")
    if request.version < 0:
        violations.add("version", "must not be negative")
    violations.check()
    return to_set, list(request.delete_keys)


def new_evaluation(request: pb.RecordEvaluationRequest) -> NewEvaluation:
    """An outcome to record.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    if not request.evaluation.strip():
        violations.add("evaluation", "is required")
    rules.text("evaluation", request.evaluation, rules.MAX_NAME_LENGTH, violations)
    rules.text("summary", request.summary, rules.MAX_SUMMARY_LENGTH, violations)
    rules.text("url", request.url, rules.MAX_URI_LENGTH, violations)
    violations.check()
    return NewEvaluation(request.evaluation, request.passed, request.summary, request.url)


def lineage_depth(depth: int, *, default: int, at_most: int) -> int:
    """The depth with its default filled in.

    Raises:
        InvalidArgument: it is out of bounds.
    """
    if not 0 <= depth <= at_most:
        raise InvalidArgument.of("depth", f"must be 1 to {at_most}, or 0 for {default}")
    return depth or default


def search(request: pb.SearchModelsRequest | pb.SearchVersionsRequest) -> Search:
    """A search; its texts are checked when it is planned."""
    return Search(
        filter_text=request.filter,
        order_by=list(request.order_by),
        page_size=request.page_size,
        page_token=request.page_token,
        mlflow_strict=request.mlflow_grammar_only,
    )

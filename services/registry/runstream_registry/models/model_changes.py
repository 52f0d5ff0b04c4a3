"""What the audit trail, the bus and webhooks are told of changes of models, versions and prompts.

Words of webhooks are MLflow's: for prompts the prompt's entities stand in for the model's, and the tags that make a prompt
are left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from runstream_common.bus.topics import MODEL_CHANGED, MODEL_VERSION_CREATED
from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.model_changed_pb2 import ModelChanged, ModelVersionCreated

from runstream_registry.change_entities import Change, Event, model_chain
from runstream_registry.entities import IS_PROMPT_TAG, PROMPT_TEXT_TAG, PROMPT_TYPE_TAG
from runstream_registry.notices import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_registry.entities import Version
    from runstream_registry.store.model_repository import LockedModel

MAX_AUDITED_CHARS = 1_000
"""Longer texts are audited by their hash: the trail proves them without holding them."""


_UNSHOWN_PROMPT_TAGS = frozenset({IS_PROMPT_TAG, PROMPT_TYPE_TAG, PROMPT_TEXT_TAG})
"""Tags that webhooks are not told of: what they say is in the event itself (MLflow)."""


def model_created(
    model_id: int,
    name: str,
    *,
    prompt: bool,
    tags: Mapping[str, str],
    description: str,
    actor: str,
    now_ms: int,
) -> Change:
    """A model or prompt was created."""
    data = {"name": name, "tags": _shown_tags(tags, prompt=prompt), "description": description}
    return Change(
        chain=model_chain(model_id),
        action="model.created",
        subject=name,
        actor=actor,
        after={"tags": _audited_tags(tags), "description": audited(description), "prompt": prompt},
        events=[_changed("model.created", name, actor, now_ms, prompt=prompt)],
        notices=[Notice(_model_entity(prompt), "CREATED", name, data)],
        time_ms=now_ms,
    )


def model_updated(model: LockedModel, description: str, actor: str, now_ms: int) -> Change:
    """A description changed."""
    data = {"name": model.name, "description": description or None}
    return Change(
        chain=model_chain(model.model_id),
        action="model.updated",
        subject=model.name,
        actor=actor,
        before={"description": audited(model.description)},
        after={"description": audited(description)},
        events=[_changed("model.updated", model.name, actor, now_ms, prompt=model.prompt)],
        notices=[Notice(_model_entity(model.prompt), "UPDATED", model.name, data)],
        time_ms=now_ms,
    )


def model_renamed(model: LockedModel, new_name: str, actor: str, now_ms: int) -> Change:
    """A name changed; the event is keyed by the new one."""
    details = {"old_name": model.name, "new_name": new_name}
    data = {"name": new_name, "old_name": model.name, "description": model.description or None}
    return Change(
        chain=model_chain(model.model_id),
        action="model.renamed",
        subject=new_name,
        actor=actor,
        before={"name": model.name},
        after={"name": new_name},
        events=[_changed("model.renamed", new_name, actor, now_ms, details=details, prompt=model.prompt)],
        notices=[Notice(_model_entity(model.prompt), "UPDATED", new_name, data)],
        time_ms=now_ms,
    )


def model_deleted(model: LockedModel, actor: str, now_ms: int) -> Change:
    """A model and all of its versions were deleted."""
    return Change(
        chain=model_chain(model.model_id),
        action="model.deleted",
        subject=model.name,
        actor=actor,
        before={"last_version": model.last_version, "description": audited(model.description)},
        events=[_changed("model.deleted", model.name, actor, now_ms, prompt=model.prompt)],
        notices=[Notice(_model_entity(model.prompt), "DELETED", model.name, {"name": model.name})],
        time_ms=now_ms,
    )


def version_created(version: Version) -> Change:
    """A version was registered."""
    return Change(
        chain=model_chain(version.model_id),
        action="version.created",
        subject=version.name,
        actor=version.user_id,
        version=version.version,
        after={
            "version_id": version.version_id,
            "source": audited(version.source),
            "run_id": version.run_id,
            "artifact_uri": audited(version.artifacts.uri),
            "artifact_digest": version.artifacts.digest,
            "description": audited(version.description),
            "tags": _audited_tags(version.tags),
        },
        events=[Event(MODEL_VERSION_CREATED, version.name, _created_event(version))],
        notices=[_created_notice(version)],
        time_ms=version.creation_time_ms,
    )


def version_updated(before: Version, after: Version, actor: str) -> Change:
    """Description, status, signature or flavors changed."""
    fields = ("description", "signature_json", "flavors_json", "status")
    changed = [name for name in fields if getattr(before, name) != getattr(after, name)]
    data = {"name": after.name, "version": str(after.version), "description": after.description or None}
    return Change(
        chain=model_chain(after.model_id),
        action="version.updated",
        subject=after.name,
        actor=actor,
        version=after.version,
        before={name: audited(getattr(before, name)) for name in changed},
        after={name: audited(getattr(after, name)) for name in changed},
        events=[
            _changed(
                "version.updated",
                after.name,
                actor,
                after.last_updated_time_ms,
                version=after.version,
                details={"fields": ",".join(changed)},
                prompt=after.prompt,
            )
        ],
        notices=[Notice(_version_entity(after.prompt), "UPDATED", after.name, data)],
        time_ms=after.last_updated_time_ms,
    )


def version_deleted(version: Version, aliases: Sequence[str], actor: str, now_ms: int) -> Change:
    """A version was deleted, and with it the aliases that pointed at it."""
    data = {"name": version.name, "version": str(version.version)}
    dropped = [
        Notice(_alias_entity(version.prompt), "DELETED", version.name, {"name": version.name, "alias": alias})
        for alias in aliases
    ]
    return Change(
        chain=model_chain(version.model_id),
        action="version.deleted",
        subject=version.name,
        actor=actor,
        version=version.version,
        before={"version_id": version.version_id, "aliases": list(aliases), "stage": version.stage.label},
        events=[
            _changed(
                "version.deleted",
                version.name,
                actor,
                now_ms,
                version=version.version,
                details={"aliases": ",".join(aliases)} if aliases else {},
                prompt=version.prompt,
            )
        ],
        notices=[*dropped, Notice(_version_entity(version.prompt), "DELETED", version.name, data)],
        time_ms=now_ms,
    )


def alias_deleted(model: LockedModel, alias: str, version: int, actor: str, now_ms: int) -> Change:
    """An alias was deleted."""
    data = {"name": model.name, "alias": alias}
    return Change(
        chain=model_chain(model.model_id),
        action="alias.deleted",
        subject=model.name,
        actor=actor,
        version=version,
        before={"alias": alias, "version": version},
        events=[
            _changed(
                "alias.deleted",
                model.name,
                actor,
                now_ms,
                version=version,
                details={"alias": alias},
                prompt=model.prompt,
            )
        ],
        notices=[Notice(_alias_entity(model.prompt), "DELETED", model.name, data)],
        time_ms=now_ms,
    )


def tags_changed(
    model: LockedModel,
    version: int,
    *,
    before: Mapping[str, str],
    to_set: Mapping[str, str],
    deleted: Sequence[str],
    actor: str,
    now_ms: int,
) -> Change:
    """Tags of a model (version 0) or of a version changed; only those that did are given."""
    details = {"set": ",".join(to_set), "deleted": ",".join(deleted)}
    return Change(
        chain=model_chain(model.model_id),
        action="tags.changed",
        subject=model.name,
        actor=actor,
        version=version,
        before=_audited_tags(before),
        after=_audited_tags(to_set),
        events=[
            _changed(
                "tags.changed",
                model.name,
                actor,
                now_ms,
                version=version,
                details={key: value for key, value in details.items() if value},
                prompt=model.prompt,
            )
        ],
        notices=_tag_notices(model, version, to_set, deleted),
        time_ms=now_ms,
    )


def evaluation_recorded(
    version: Version, evaluation: str, *, passed: bool, summary: str, url: str, actor: str, now_ms: int
) -> Change:
    """The outcome of an evaluation was recorded."""
    details = {"evaluation": evaluation, "passed": "true" if passed else "false"}
    return Change(
        chain=model_chain(version.model_id),
        action="evaluation.recorded",
        subject=version.name,
        actor=actor,
        version=version.version,
        after={"evaluation": evaluation, "passed": passed, "summary": audited(summary), "url": audited(url)},
        events=[
            _changed(
                "evaluation.recorded",
                version.name,
                actor,
                now_ms,
                version=version.version,
                details=details,
                prompt=version.prompt,
            )
        ],
        time_ms=now_ms,
    )


def audited(value: Any) -> Any:
    """A value for the audit trail: long texts as their length and SHA-256."""
    if not isinstance(value, str) or len(value) <= MAX_AUDITED_CHARS:
        return value
    return {"characters": len(value), "sha256": hashlib.sha256(value.encode()).hexdigest()}


def _audited_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    return {key: audited(value) for key, value in tags.items()}


def _shown_tags(tags: Mapping[str, str], *, prompt: bool) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not (prompt and key in _UNSHOWN_PROMPT_TAGS)}


def _created_event(version: Version) -> ModelVersionCreated:
    return ModelVersionCreated(
        event_id=new_batch_id(),
        model=version.name,
        version=version.version,
        version_id=version.version_id,
        source=version.source,
        run_id=version.run_id,
        artifact_uri=version.artifacts.uri,
        artifact_digest=version.artifacts.digest,
        actor=version.user_id,
        occurred_time_ms=version.creation_time_ms,
        prompt=version.prompt,
    )


def _created_notice(version: Version) -> Notice:
    data: dict[str, Any] = {"name": version.name, "version": str(version.version)}
    if version.prompt:
        data["template"] = version.tags.get(PROMPT_TEXT_TAG)
    else:
        data |= {"source": version.source, "run_id": version.run_id or None}
    data["tags"] = _shown_tags(version.tags, prompt=version.prompt)
    data["description"] = version.description or None
    return Notice(_version_entity(version.prompt), "CREATED", version.name, data)


def _tag_notices(
    model: LockedModel, version: int, to_set: Mapping[str, str], deleted: Sequence[str]
) -> list[Notice]:
    if version:
        entity = "PROMPT_VERSION_TAG" if model.prompt else "MODEL_VERSION_TAG"
        subject = {"name": model.name, "version": str(version)}
    elif model.prompt:
        entity, subject = "PROMPT_TAG", {"name": model.name}
    else:
        # MLflow has no event for tags of models.
        return []
    return [
        *(Notice(entity, "SET", model.name, {**subject, "key": k, "value": v}) for k, v in to_set.items()),
        *(Notice(entity, "DELETED", model.name, {**subject, "key": key}) for key in deleted),
    ]


def _changed(
    action: str,
    model: str,
    actor: str,
    now_ms: int,
    *,
    version: int = 0,
    details: Mapping[str, str] | None = None,
    prompt: bool,
) -> Event:
    message = ModelChanged(
        event_id=new_batch_id(),
        action=action,
        model=model,
        version=version,
        actor=actor,
        occurred_time_ms=now_ms,
        details=details,
        prompt=prompt,
    )
    return Event(MODEL_CHANGED, model, message)


def _model_entity(prompt: bool) -> str:
    return "PROMPT" if prompt else "REGISTERED_MODEL"


def _version_entity(prompt: bool) -> str:
    return "PROMPT_VERSION" if prompt else "MODEL_VERSION"


def _alias_entity(prompt: bool) -> str:
    return "PROMPT_ALIAS" if prompt else "MODEL_VERSION_ALIAS"

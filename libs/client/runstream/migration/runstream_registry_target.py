"""Writes registered models, prompts and their versions to Runstream's registry."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runstream_common.errors import AlreadyExists, NotFound
from runstream_proto.registry.v1 import import_service_pb2 as import_pb
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import promotion_service_pb2 as promotions_pb
from runstream_proto.registry.v1 import types_pb2 as types_pb
from runstream_proto.registry.v1.import_service_pb2_grpc import ImportServiceStub
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub

from runstream.migration.target import ModelCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from runstream.connection import Connection

NO_STAGE = "None"
REASON = "as in the MLflow deployment that it was imported from"
PAGE_SIZE = 1_000


class RegistryTarget:
    """The registry half of `RunstreamTarget`.

    Args:
        connection: channels.
        call: makes a call, patiently.
    """

    def __init__(self, connection: Connection, call: Callable[..., Any]) -> None:
        self._call_registry = call
        self._facts = connection.stub(ImportServiceStub)
        self._registry = connection.stub(ModelServiceStub)
        self._promotions = connection.stub(PromotionServiceStub)

    def put_model(self, model: RegisteredModel) -> None:
        """See Target."""
        tags = _tags(model)
        answer = self._call_registry(
            self._registry.CreateModel,
            pb.CreateModelRequest(
                name=model.name, description=model.description or "", tags=tags, get_if_exists=True
            ),
        )
        if not answer.created and tags:
            self._call_registry(self._registry.ChangeTags, pb.ChangeTagsRequest(name=model.name, set=tags))

    def put_version(self, version: ModelVersion, source: str, run_id: str, model_id: str) -> None:
        """See Target; raises AlreadyExists when the number belongs to another version."""
        number, version_id = int(version.version), _version_id(version)
        reserved = self._call_registry(
            self._facts.ReserveVersions,
            import_pb.ReserveVersionsRequest(name=version.name, up_to_version=number - 1),
        )
        if reserved.last_version >= number:
            self._require_own(version, version_id)
            return
        answer = self._call_registry(
            self._registry.CreateVersion,
            pb.CreateVersionRequest(
                name=version.name,
                source=source,
                run_id=run_id,
                logged_model_id=model_id,
                run_link=version.run_link or "",
                description=version.description or "",
                tags=_tags(version),
                version_id=version_id,
                any_source=True,
            ),
        )
        if answer.version.version != number:
            raise _taken(version)

    def finish_model(self, model: RegisteredModel, versions: Sequence[ModelVersion]) -> None:
        """See Target. Stages and aliases are promotions, so that policies in force have their say."""
        for version in versions:
            if version.current_stage not in {None, "", NO_STAGE}:
                self._promote(version, promotions_pb.Target(stage=version.current_stage))
        by_number = {str(version.version): version for version in versions}
        for alias, number in model.aliases.items():
            self._promote(by_number[str(number)], promotions_pb.Target(alias=alias))
        for version in versions:
            self._amend(version, int(version.version), version.user_id or "")
        self._amend(model, 0, "")

    def model_counts(self, name: str) -> ModelCounts | None:
        """See Target."""
        with suppress(NotFound):
            model = self._call_registry(self._registry.GetModel, pb.GetModelRequest(name=name)).model
            prompt = any(tag.key == "mlflow.prompt.is_prompt" for tag in model.tags)
            return ModelCounts(
                tags=len(model.tags),
                aliases={alias.alias: str(alias.version) for alias in model.aliases},
                versions={
                    str(item.version): _stage_name(item.stage) for item in self._versions(name, prompt)
                },
            )
        return None

    def _versions(self, name: str, prompt: bool) -> Iterator[types_pb.ModelVersion]:
        quote = '"' if "'" in name else "'"
        where = f"name = {quote}{name}{quote}"
        if prompt:
            where += " AND tags.`mlflow.prompt.is_prompt` = 'true'"
        token = ""
        while True:
            page = self._call_registry(
                self._registry.SearchVersions,
                pb.SearchVersionsRequest(filter=where, page_size=PAGE_SIZE, page_token=token),
            )
            yield from page.versions
            token = page.next_page_token
            if not token:
                return

    def _require_own(self, version: ModelVersion, version_id: str) -> None:
        request = pb.GetVersionRequest(
            name=version.name, selector=pb.VersionSelector(version=int(version.version))
        )
        with suppress(NotFound):
            if self._call_registry(self._registry.GetVersion, request).version.version_id == version_id:
                return
        raise _taken(version)

    def _promote(self, version: ModelVersion, target: promotions_pb.Target) -> None:
        request = promotions_pb.PromoteRequest(
            name=version.name, version=int(version.version), target=target, reason=REASON
        )
        self._call_registry(self._promotions.Promote, request)

    def _amend(self, item: ModelVersion | RegisteredModel, number: int, user_id: str) -> None:
        self._call_registry(
            self._facts.AmendTimes,
            import_pb.AmendTimesRequest(
                name=item.name,
                version=number,
                creation_time_ms=item.creation_timestamp or 0,
                last_updated_time_ms=item.last_updated_timestamp or 0,
                user_id=user_id,
            ),
        )


def _tags(item: ModelVersion | RegisteredModel) -> list[types_pb.Tag]:
    # The property leaves out the tag that makes a prompt.
    return [types_pb.Tag(key=key, value=str(value)) for key, value in item._tags.items()]  # noqa: SLF001


def _version_id(version: ModelVersion) -> str:
    """The same at every try, so that a repeated import finds what it made."""
    text = f"{version.name}\n{version.version}\n{version.creation_timestamp}\n{version.source}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _stage_name(stage: types_pb.Stage.ValueType) -> str:
    return types_pb.Stage.Name(stage).removeprefix("STAGE_").capitalize()


def _taken(version: ModelVersion) -> AlreadyExists:
    return AlreadyExists(
        f"version {version.version} of {version.name!r} was registered here by someone else",
        reason="VERSION_TAKEN",
    )

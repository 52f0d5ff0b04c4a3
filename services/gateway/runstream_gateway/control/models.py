"""Registered models and their versions as the console shows them, and outcomes of evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2

from runstream_gateway.actors import metadata_of
from runstream_gateway.control.messages import answer_of, enum_name, value_of
from runstream_gateway.control.values import Count, Reason, TimeMs, Version

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends

_STAGES: Final = {1: "None", 2: "Staging", 3: "Production", 4: "Archived"}


class AliasOf(Struct, frozen=True):
    """An alias and the version that it points at."""

    alias: str
    version: Version


class Model(Struct, frozen=True, kw_only=True):
    """A registered model."""

    name: str
    description: str
    creation_time_ms: TimeMs
    last_updated_time_ms: TimeMs
    aliases: list[AliasOf]
    promotion_sequence: Count
    version_count: Count


class ModelPage(Struct, frozen=True):
    """Models by name."""

    models: list[Model]
    next_page_token: str


class ModelVersion(Struct, frozen=True, kw_only=True):
    """A version of a model."""

    version: Version
    source: str
    run_id: str
    user_id: str
    status: str
    status_message: str
    stage: str
    aliases: list[str]
    creation_time_ms: TimeMs


class VersionPage(Struct, frozen=True):
    """Versions of a model, newest first."""

    versions: list[ModelVersion]
    next_page_token: str


class EvaluationOutcome(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome of an evaluation of a version."""

    evaluation: Annotated[
        str, Meta(min_length=1, max_length=250, description="Name, such as `regression-suite`")
    ]
    passed: bool
    summary: Reason = ""
    url: Annotated[str, Meta(max_length=2_000, description="Link to the report")] = ""


class Models:
    """Calls about models and versions."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._timeout = backends.timeout_seconds

    async def page(self, name_contains: str = "", *, page_size: int = 50, page_token: str = "") -> ModelPage:
        """One page of models whose name contains a text, whatever its case."""
        request = pb.SearchModelsRequest(
            filter=f"name ILIKE {_quoted(f'%{name_contains}%')}" if name_contains else "",
            page_size=page_size,
            page_token=page_token,
        )
        answer = await answer_of(self._models.SearchModels(request, timeout=self._timeout))
        return ModelPage([value_of(model, Model) for model in answer.models], answer.next_page_token)

    async def get(self, name: str) -> Model:
        """One model."""
        answer = await answer_of(self._models.GetModel(pb.GetModelRequest(name=name), timeout=self._timeout))
        return value_of(answer.model, Model)

    async def versions(self, name: str, *, page_size: int = 50, page_token: str = "") -> VersionPage:
        """One page of a model's versions."""
        request = pb.SearchVersionsRequest(
            filter=f"name = {_quoted(name)}",
            order_by=["version_number DESC"],
            page_size=page_size,
            page_token=page_token,
        )
        answer = await answer_of(self._models.SearchVersions(request, timeout=self._timeout))
        return VersionPage([_version(version) for version in answer.versions], answer.next_page_token)

    async def record_evaluation(
        self, name: str, version: int, outcome: EvaluationOutcome, *, actor: str
    ) -> None:
        """Record the outcome of an evaluation, for gates that ask for one."""
        request = pb.RecordEvaluationRequest(
            name=name,
            version=version,
            evaluation=outcome.evaluation,
            passed=outcome.passed,
            summary=outcome.summary,
            url=outcome.url,
        )
        call = self._models.RecordEvaluation(request, timeout=self._timeout, metadata=metadata_of(actor))
        await answer_of(call)


def _version(message: types_pb2.ModelVersion) -> ModelVersion:
    return value_of(
        message,
        ModelVersion,
        stage=_STAGES.get(message.stage, "None"),
        status=enum_name(message.status, types_pb2.VersionStatus, "VERSION_STATUS_"),
    )


def _quoted(text: str) -> str:
    """A text of the search grammar (docs/search.md): a doubled quote stands for one."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"

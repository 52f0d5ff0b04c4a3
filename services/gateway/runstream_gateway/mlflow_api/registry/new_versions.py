"""New versions of registered models: where their files come from, decided as MLflow's server does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from runstream_common.errors import InvalidArgument, NotFound
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.metadata.v1 import logged_model_service_pb2 as logged_pb
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb
from runstream_proto.metadata.v1 import types_pb2 as metadata_types
from runstream_proto.registry.v1 import model_service_pb2 as pb

from runstream_gateway.mlflow_api.errors import invalid, missing, translated
from runstream_gateway.mlflow_api.registry import source_rules as rules
from runstream_gateway.mlflow_api.registry.calls import RegistryCaller, tag_messages
from runstream_gateway.mlflow_api.registry.checks import (
    check_alias,
    check_model_name,
    check_version_tags,
    is_prompt,
    stage_of,
    version_number,
)
from runstream_gateway.mlflow_api.registry.refusals import alias_words, model_words, version_words

if TYPE_CHECKING:
    from mlflow.protos import model_registry_pb2 as mlflow_pb
    from mlflow.store.artifact.utils.models import ParsedModelUri
    from runstream_proto.registry.v1 import types_pb2 as types
    from starlette.requests import Request

    from runstream_gateway.backends import Backends


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files of a new version come from.

    Args:
        source: as it is kept: with the number instead of an alias or stage.
        storage_location: what the source stands for; empty when that is itself.
    """

    source: str
    run_id: str
    model_id: str
    storage_location: str = ""


class NewVersions:
    """Creates versions."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._runs = backends.runs
        self._logged_models = backends.logged_models
        self._timeout_seconds = backends.timeout_seconds
        self._call = RegistryCaller(backends.timeout_seconds)

    async def create(self, http: Request, asked: mlflow_pb.CreateModelVersion) -> types.ModelVersion:
        """The version that a client asks for.

        Raises:
            MlflowException: the source is not allowed, or what it names does not exist.
        """
        if is_prompt(asked.tags):
            rules.check_prompt_source(asked.source)
            origin = Origin(asked.source, asked.run_id, asked.model_id)
        else:
            rules.check_scheme(asked.source)
            origin = await self._origin(http, asked)
        check_model_name(asked.name)
        check_version_tags(asked.tags)
        message = pb.CreateVersionRequest(
            name=asked.name,
            source=origin.source,
            run_id=origin.run_id,
            logged_model_id=origin.model_id,
            run_link=asked.run_link,
            description=asked.description,
            tags=tag_messages(asked.tags),
            any_source=True,
            storage_location=origin.storage_location,
        )
        answer = await self._call(http, self._models.CreateVersion, message, model_words(asked.name))
        if asked.model_id and not is_prompt(asked.tags):
            await self._tell_logged_model(asked.model_id, answer.version)
        return answer.version  # type: ignore[no-any-return]

    async def _origin(self, http: Request, asked: mlflow_pb.CreateModelVersion) -> Origin:
        source, scheme = asked.source, rules.source_scheme(asked.source)
        if scheme == "models":
            if urlsplit(source).netloc:
                raise invalid(
                    f"Invalid model version source: '{source}'. Registered model sources must use the active model "
                    "registry."
                )
            named = rules.parse_models_uri(source)
            if named.model_id is None:
                return await self._from_version(http, asked, named)
        if asked.model_id:
            return await self._of_logged_model(asked, scheme)
        await self._check_run(asked, scheme)
        return Origin(source, asked.run_id, "")

    async def _check_run(self, asked: mlflow_pb.CreateModelVersion, scheme: str) -> None:
        """Refuse a source that the run does not hold; stores that are not ours hold what they like."""
        source, run_id = asked.source, asked.run_id
        if scheme == "file":
            run = await self._run(run_id)
            if run is None or not rules.is_locally_below(source, run.artifact_uri):
                raise rules.not_contained_locally(source, "run_id")
            return
        rules.check_no_relative_path(source)
        if scheme == "runs":
            if not run_id or rules.run_of(source) != run_id:
                raise rules.not_contained(source, "run_id")
        elif scheme == "models":
            raise rules.not_contained(source, "model_id")
        elif rules.is_proxied(source):
            run = await self._run(run_id)
            if run is None or not rules.is_below(source, run.artifact_uri):
                raise rules.not_contained(source, "run_id")

    async def _of_logged_model(self, asked: mlflow_pb.CreateModelVersion, scheme: str) -> Origin:
        """A version of a logged model: it comes from the run that made that, and files of ours must be its own."""
        source, model = asked.source, await self._logged_model(asked.model_id)
        location = ""
        if scheme == "file":
            if model is None or not rules.is_locally_below(source, model.artifact_uri):
                raise rules.not_contained_locally(source, "model_id")
        else:
            rules.check_no_relative_path(source)
        if scheme == "models":
            if rules.parse_models_uri(source).model_id != asked.model_id:
                raise rules.not_contained(source, "model_id")
            location = model.artifact_uri if model is not None else ""
        elif scheme == "runs" or (
            scheme != "file"
            and rules.is_proxied(source)
            and (model is None or not rules.is_below(source, model.artifact_uri))
        ):
            raise rules.not_contained(source, "model_id")
        if model is None:
            raise missing(f"Logged model with ID '{asked.model_id}' not found.")
        return Origin(source, asked.run_id or model.source_run_id, asked.model_id, location)

    async def _from_version(
        self, http: Request, asked: mlflow_pb.CreateModelVersion, named: ParsedModelUri
    ) -> Origin:
        """A copy of a version: its run and logged model go along."""
        version = await self._named_version(http, asked.source, named)
        if (asked.HasField("run_id") and asked.run_id != version.run_id) or (
            asked.HasField("model_id") and asked.model_id != version.logged_model_id
        ):
            raise invalid(
                f"Invalid model version source: '{asked.source}'. The run_id and model_id request parameters must match "
                "the referenced model version."
            )
        return Origin(
            f"models:/{version.name}/{version.version}",
            version.run_id,
            version.logged_model_id,
            version.storage_location or version.source,
        )

    async def _named_version(self, http: Request, source: str, named: ParsedModelUri) -> types.ModelVersion:
        name = named.name or ""
        check_model_name(name)
        model = await self._call(
            http, self._models.GetModel, pb.GetModelRequest(name=name), model_words(name)
        )
        if is_prompt(model.model.tags):
            raise invalid(
                f"Invalid model version source: '{source}'. Prompt versions cannot be used as model version sources."
            )
        selector, words = _selected(name, named)
        message = pb.GetVersionRequest(name=name, selector=selector)
        answer = await self._call(http, self._models.GetVersion, message, words)
        return answer.version  # type: ignore[no-any-return]

    async def _run(self, run_id: str) -> metadata_types.Run | None:
        if not run_id:
            return None
        message = run_pb.GetRunRequest(run_id=run_id)
        answer = await self._looked_up(self._runs.GetRun, message)
        return None if answer is None else answer.run

    async def _logged_model(self, model_id: str) -> logged_pb.LoggedModel | None:
        message = logged_pb.GetLoggedModelRequest(model_id=model_id)
        answer = await self._looked_up(self._logged_models.GetLoggedModel, message)
        return None if answer is None else answer.model

    async def _looked_up(self, method: Any, message: Any) -> Any:
        """The answer; None when there is nothing of that id, or can be."""
        try:
            return await method(message, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            refusal = from_rpc_error(error)
            if isinstance(refusal, (NotFound, InvalidArgument)):
                return None
            raise translated(refusal) from error

    async def _tell_logged_model(self, model_id: str, version: types.ModelVersion) -> None:
        """Note the version in a tag of its logged model, where MLflow's client and UI look for it."""
        model = await self._logged_model(model_id)
        if model is None:
            raise missing(f"Logged model with ID '{model_id}' not found.")
        text = next((tag.value for tag in model.tags if tag.key == MLFLOW_MODEL_VERSIONS), "")
        known = _json_list(text)
        entry = {"name": version.name, "version": version.version}
        if entry in known:
            return
        tag = metadata_types.KeyValue(key=MLFLOW_MODEL_VERSIONS, value=json.dumps([*known, entry]))
        message = logged_pb.SetLoggedModelTagsRequest(model_id=model_id, tags=[tag])
        try:
            await self._logged_models.SetLoggedModelTags(message, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise translated(error) from error


def _selected(name: str, named: ParsedModelUri) -> tuple[pb.VersionSelector, Any]:
    """The version that a URI means, and what to say when there is none."""
    if named.version is not None:
        return pb.VersionSelector(version=version_number(name, named.version)), version_words(
            name, named.version
        )
    if named.alias is not None:
        check_alias(named.alias)
        return pb.VersionSelector(alias=named.alias), alias_words(name, named.alias)
    stage = named.stage
    which = "" if stage is None else f" and stage '{stage}'"
    words = {"VERSION_NOT_FOUND": lambda _: missing(f"No versions of model with name '{name}'{which} found")}
    if stage is None:
        return pb.VersionSelector(alias="latest"), words
    return pb.VersionSelector(stage=stage_of(stage)), words


def _json_list(text: str) -> list[Any]:
    """The list in a tag; a tag that somebody wrote otherwise is begun anew."""
    try:
        value = json.loads(text) if text else []
    except ValueError:
        return []
    return value if isinstance(value, list) else []

"""Where a model version's files are: in its own immutable copy, or where its source is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runstream_proto.artifact.v1 import types_pb2 as types
from runstream_proto.registry.v1 import model_service_pb2 as pb

from runstream_gateway.files.store import Place
from runstream_gateway.mlflow_api.artifacts.paths import model_place, place_of_uri, run_place
from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.registry.checks import check_model_name, version_number
from runstream_gateway.mlflow_api.registry.refusals import version_words

if TYPE_CHECKING:
    from runstream_proto.registry.v1 import types_pb2 as registry_types

    from runstream_gateway.backends import Backends

_OWN_COPY = "runstream://model-versions/"


async def version_place(backends: Backends, name: str, version: str, path: str) -> Place:
    """Where a file of a version is.

    Raises:
        MlflowException: there is no such version, or its files are kept elsewhere.
    """
    check_model_name(name)
    selector = pb.VersionSelector(version=version_number(name, version))
    message = pb.GetVersionRequest(name=name, selector=selector)
    words = version_words(name, version)
    answer = await call(backends.models.GetVersion, message, backends.timeout_seconds, words)
    root = _root_of(answer.version)
    if root is None:
        raise invalid(
            f"The files of version {version} of model '{name}' are at {answer.version.source}, not on this server."
        )
    return Place(root.owner, f"{root.path}/{path}" if root.path and path else root.path or path)


def _root_of(version: registry_types.ModelVersion) -> Place | None:
    if version.artifacts.uri.startswith(_OWN_COPY):
        version_id = version.artifacts.uri.removeprefix(_OWN_COPY)
        return Place(types.Owner(kind=types.OWNER_KIND_MODEL_VERSION, id=version_id), "")
    location = version.storage_location or version.source
    parts = urlsplit(location)
    if parts.scheme == "models" and parts.path.lstrip("/").startswith("m-"):
        return model_place(parts.path.lstrip("/"))
    if parts.scheme == "runs":
        run_id, _, path = parts.path.lstrip("/").partition("/")
        return run_place(run_id, path)
    return place_of_uri(location)

"""What a new version's source may be, as far as its text tells.

Source of the rules, and of the refusals' texts: MLflow 3.17's handler of model-versions/create (`_validate_source_run`,
`_validate_source_model`, `_validate_non_local_source_contains_relative_paths`, `_is_uri_within_root`).
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus, urlsplit

from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import _PROMPT_SOURCE_PLACEHOLDERS
from mlflow.store.artifact.host_policy import (
    host_addressed_rejection_message,
    rejected_host_addressed_scheme,
)
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from runstream_gateway.mlflow_api.errors import invalid

if TYPE_CHECKING:
    from mlflow.store.artifact.utils.models import ParsedModelUri

_PROXY_ROUTE: Final = ("api", "2.0", "mlflow-artifacts", "artifacts")


def check_prompt_source(source: str) -> None:
    """Refuse a prompt with a source: prompts have no files.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    if source not in _PROMPT_SOURCE_PLACEHOLDERS:
        raise invalid(f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.")


def check_scheme(source: str) -> None:
    """Refuse what is no URI, and schemes that would make a server call any host.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    try:
        scheme = rejected_host_addressed_scheme(source)
        is_local_uri(source)
    except (ValueError, MlflowException) as error:
        # MLflow answers 500 to these.
        raise invalid(f"Invalid model version source: '{source}'. {error}") from error
    if scheme is not None:
        raise invalid(host_addressed_rejection_message(scheme, field_name="source"))


def source_scheme(source: str) -> str:
    """The scheme in lower case; "file" for every local path."""
    return "file" if is_local_uri(source) else urlsplit(source).scheme


def parse_models_uri(source: str) -> ParsedModelUri:
    """What a source below models:/ names: a logged model or a version of a registered one.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    try:
        return _parse_model_uri(source)
    except MlflowException as error:
        raise not_contained(source, "model_id") from error


def check_no_relative_path(source: str) -> None:
    """Refuse a path that is not absolute and normal, however often it is percent-encoded.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    plain = source
    while (unquoted := unquote_plus(plain)) != plain:
        plain = unquoted
    path = re.sub(r"/+", "/", urlsplit(plain).path.rstrip("/"))
    if (
        "\0" in path
        or ".." in plain.split("/")
        or not path.startswith("/")
        or posixpath.normpath(path) != path
    ):
        raise invalid(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, "
            "objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references "
            "present. Please provide an absolute path."
        )


def run_of(source: str) -> str:
    """The run that a source below runs:/ names; empty when it names none."""
    parts = urlsplit(source)
    return "" if parts.netloc else parts.path[1:].partition("/")[0]


def is_proxied(source: str) -> bool:
    """Whether the files are behind a server's artifact proxy."""
    scheme, _, path = _parts(source)
    if scheme == "mlflow-artifacts":
        return True
    places = range(len(path) - len(_PROXY_ROUTE) + 1)
    return scheme in {"http", "https"} and any(
        path[place : place + len(_PROXY_ROUTE)] == _PROXY_ROUTE for place in places
    )


def is_below(source: str, root: str) -> bool:
    """Whether a source is a root of artifacts, or lies below it; both of one store."""
    *store, path = _parts(source)
    *root_store, root_path = _parts(root)
    return store == root_store and bool(root_path) and path[: len(root_path)] == root_path


def is_locally_below(source: str, root: str) -> bool:
    """Whether a local path is a local root, or lies below it."""
    if not is_local_uri(root):
        return False
    path: str
    root_path: str
    path, root_path = (posixpath.normpath(local_file_uri_to_path(uri)) for uri in (source, root))
    return path == root_path or path.startswith(root_path.rstrip("/") + "/")


def not_contained(source: str, parameter: str) -> MlflowException:
    """The refusal of a source that the named run or logged model does not hold."""
    return invalid(
        f"Invalid model version source: '{source}'. The {parameter} request parameter must identify the resource that "
        "contains the source."
    )


def not_contained_locally(source: str, parameter: str) -> MlflowException:
    """The refusal of a local path that the named run or logged model does not hold."""
    return invalid(
        f"Invalid model version source: '{source}'. To use a local path as a model version source, the {parameter} "
        "request parameter has to be specified and the local path has to be contained within the artifact directory of "
        f"the run specified by the {parameter}."
    )


def _parts(uri: str) -> tuple[str, str, tuple[str, ...]]:
    parts = urlsplit(uri)
    path = tuple(_fully_unquoted(part) for part in parts.path.split("/") if part)
    return parts.scheme.lower(), parts.netloc.lower(), path


def _fully_unquoted(text: str) -> str:
    while (unquoted := unquote(text)) != text:
        text = unquoted
    return text

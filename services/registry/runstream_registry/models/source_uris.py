"""What the source of a version names. Only texts are looked at here; nothing is read.

Source of the rules: MLflow's `_validate_source_run`, `_validate_source_model` and `_validate_artifact_uri_scheme`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from runstream_common.errors import InvalidArgument
from runstream_contract.names import is_run_id

from runstream_registry import rules
from runstream_registry.entities import PROMPT_SOURCES, ByAlias, ByNumber, ByStage, Stage

if TYPE_CHECKING:
    from runstream_registry.entities import Selector

VERSION_SCHEME = "runstream"
VERSION_ROOT = "model-versions"

_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")
# Roots of runs and of logged models in MLflow's default layout; what is before them is the experiment's location.
_ARTIFACT_ROOT = re.compile(
    r"(?:.*?/)?(?:(?P<run_id>[0-9a-f]{32})|models/(?P<model_id>m-[0-9a-f]{32}))/artifacts(?:/(?P<path>.*))?"
)
_STAGES = {stage.label.lower(): stage for stage in Stage}


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Files of a run; an empty path is all of them."""

    run_id: str
    path: str


@dataclass(frozen=True, slots=True)
class LoggedModelFiles:
    """Files of a logged model; an empty path is all of them."""

    model_id: str
    path: str


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """Files of a version, by model and selector."""

    name: str
    selector: Selector


@dataclass(frozen=True, slots=True)
class VersionIdFiles:
    """Files of a version, by its id."""

    version_id: str


@dataclass(frozen=True, slots=True)
class ExternalFiles:
    """Files of another store, or none at all."""

    uri: str


Source: TypeAlias = RunFiles | LoggedModelFiles | VersionFiles | VersionIdFiles | ExternalFiles


def parse_source(source: str) -> Source:
    """What the source names.

    Raises:
        InvalidArgument: it is missing, local, on the web, leads out of its root, or is not understood.
    """
    if not source:
        raise _refused("is required")
    if source in PROMPT_SOURCES:
        return ExternalFiles(source)
    if len(source) > rules.MAX_URI_LENGTH:
        raise _refused(f"has {len(source)} characters, at most {rules.MAX_URI_LENGTH} are allowed")
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise _refused(f"is not a URI: {error}") from error
    _check_scheme(parts)
    _check_path(source, parts)
    match parts.scheme:
        case "runs":
            return _run_files(parts)
        case "models":
            return _model_files(parts)
        case "mlflow-artifacts":
            return _artifact_files(parts)
        case "runstream":
            return _version_files(parts)
        case _:
            return ExternalFiles(source)


def _check_scheme(parts: SplitResult) -> None:
    if parts.scheme in {"http", "https"}:
        raise _refused("must not be http or https")
    # One letter is a drive.
    if parts.scheme in {"", "file"} or len(parts.scheme) == 1:
        raise _refused("is a local path; log the files to a run and register runs:/<run id>/<path>")


def _check_path(source: str, parts: SplitResult) -> None:
    decoded = _fully_unquoted(source)
    if not decoded.isprintable():
        raise _refused("must not contain control characters")
    for part in (parts.path, parts.netloc, parts.query, parts.fragment):
        segments = re.split(r"[/\\=&]", _fully_unquoted(part))
        if any(segment in {".", ".."} for segment in segments):
            raise _refused("must not contain '.' or '..' as a part of its path")


def _fully_unquoted(text: str) -> str:
    while (unquoted := unquote(text)) != text:
        text = unquoted
    return text


def _run_files(parts: SplitResult) -> RunFiles:
    run_id, _, path = _clean(parts.path).partition("/")
    if parts.netloc or not is_run_id(run_id):
        raise _refused(
            "must look like runs:/<run id>/<path> with 32 lowercase hexadecimal characters as run id"
        )
    return RunFiles(run_id, path)


def _model_files(parts: SplitResult) -> VersionFiles | LoggedModelFiles:
    if parts.netloc:
        raise _refused("must look like models:/<name>/<version>; other registries cannot be named")
    name, _, rest = _clean(parts.path).partition("/")
    if not rest and _LOGGED_MODEL.fullmatch(name):
        return LoggedModelFiles(name, "")
    if not rest and "@" in name:
        name, _, alias = name.rpartition("@")
        return VersionFiles(name, ByAlias(rules.alias(alias, field="source", reserved=True)))
    selector = _selector(rest)
    if not name or selector is None:
        raise _refused("must look like models:/<name>/<version>, models:/<name>@<alias> or models:/m-<id>")
    return VersionFiles(name, selector)


def _selector(word: str) -> Selector | None:
    if word.isascii() and word.isdecimal() and 1 <= int(word[:10]) <= rules.MAX_VERSION and len(word) <= 10:
        return ByNumber(int(word))
    if word.lower() == "latest":
        return ByAlias("latest")
    stage = _STAGES.get(word.lower())
    return None if stage is None else ByStage(stage)


def _artifact_files(parts: SplitResult) -> RunFiles | LoggedModelFiles:
    found = _ARTIFACT_ROOT.fullmatch(_clean(parts.path))
    if found is None:
        raise _refused("must lie below <run id>/artifacts or models/<model id>/artifacts")
    path = found["path"] or ""
    return RunFiles(found["run_id"], path) if found["run_id"] else LoggedModelFiles(found["model_id"], path)


def _version_files(parts: SplitResult) -> VersionIdFiles:
    version_id = _clean(parts.path)
    if parts.netloc != VERSION_ROOT or not is_run_id(version_id):
        raise _refused(f"must look like {VERSION_SCHEME}://{VERSION_ROOT}/<version id>")
    return VersionIdFiles(version_id)


def _clean(path: str) -> str:
    return re.sub(r"/+", "/", path).strip("/")


def _refused(description: str) -> InvalidArgument:
    return InvalidArgument.of("source", description)

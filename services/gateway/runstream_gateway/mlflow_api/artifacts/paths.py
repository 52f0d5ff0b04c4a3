"""MLflow's one tree of artifacts, mapped to the owners of files.

A run's files are at ``<experiment's location>/<run_id>/artifacts``, a logged model's at ``…/models/<model_id>/artifacts``, a
trace's at ``…/traces/<trace_id>/artifacts``. Whatever else a client writes to belongs to nobody, and is kept in a tree of
its own.
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from mlflow.utils.uri import validate_path_is_safe
from runstream_proto.artifact.v1 import types_pb2 as types

from runstream_gateway.files.store import Place

ARTIFACTS = "artifacts"
REST = types.Owner(kind=types.OWNER_KIND_PROXY, id="rest")

_OWNED = re.compile(
    r"(?:.*?/)?(?:(?P<run>[0-9a-f]{32})|models/(?P<model>m-[0-9a-f]{32})|traces/(?P<trace>tr-[0-9a-f]{32}))"
    r"(?P<below>/artifacts(?:/(?P<path>.*))?)?"
)
_HTTP_ROUTE = "/api/2.0/mlflow-artifacts/artifacts/"

# Extensions that MLflow shows as text, whatever the system's table of types says (mlflow.utils.mime_type_utils, 3.17).
_TEXT = frozenset(
    [
        "txt",
        "log",
        "err",
        "cfg",
        "conf",
        "cnf",
        "cf",
        "ini",
        "properties",
        "prop",
        "hocon",
        "toml",
        "yaml",
        "yml",
        "xml",
        "json",
        "js",
        "py",
        "py3",
        "csv",
        "tsv",
        "md",
        "rst",
        "ipynb",
        "MLmodel",
        "MLproject",
    ]
)
BINARY = "application/octet-stream"


class Owned(NamedTuple):
    """Where a path of MLflow's tree is."""

    place: Place
    above: bool
    """Whether it is the folder that holds the owner's ``artifacts``."""


def safe_path(text: str) -> str:
    """A path within the tree, decoded and cleaned.

    Raises:
        MlflowException: "Invalid path", if it leads out of the tree by any reading.
    """
    path = posixpath.normpath(validate_path_is_safe(text))
    return "" if path == "." else path


def located(path: str) -> Owned:
    """Where a clean path of the tree is.

    Args:
        path: what `safe_path` gave.
    """
    # The first owner in the path is the owner: its files may lie in folders that look like another one's.
    match = _OWNED.fullmatch(path)
    if match is None:
        return Owned(Place(REST, path), above=False)
    place = Place(_owner(match), match["path"] or "")
    return Owned(place, above=match["below"] is None)


def place_of_uri(uri: str) -> Place | None:
    """Where files lie whose location a client was given; None when they are not kept here."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme == "mlflow-artifacts":
        path = parts.path
    elif parts.scheme in ("http", "https") and _HTTP_ROUTE in parts.path:
        path = parts.path.partition(_HTTP_ROUTE)[2]
    else:
        return None
    owned = located(safe_path(path.lstrip("/")))
    return None if owned.above else owned.place


def run_place(run_id: str, path: str = "") -> Place:
    """Files of a run."""
    return Place(types.Owner(kind=types.OWNER_KIND_RUN, id=run_id), path)


def model_place(model_id: str, path: str = "") -> Place:
    """Files of a logged model."""
    return Place(types.Owner(kind=types.OWNER_KIND_LOGGED_MODEL, id=model_id), path)


@lru_cache(maxsize=4096)
def content_type(path: str) -> str:
    """The media type that MLflow shows a file as, by its name."""
    name = posixpath.basename(path)
    extension = posixpath.splitext(name)[1].replace(".", "")
    if (extension or name) in _TEXT:
        return "text/plain"
    return mimetypes.guess_type(name)[0] or BINARY


def _owner(match: re.Match[str]) -> types.Owner:
    if match["run"]:
        return types.Owner(kind=types.OWNER_KIND_RUN, id=match["run"])
    if match["model"]:
        return types.Owner(kind=types.OWNER_KIND_LOGGED_MODEL, id=match["model"])
    return types.Owner(kind=types.OWNER_KIND_TRACE, id=match["trace"])

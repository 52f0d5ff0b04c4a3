"""The MLflow deployment that is read or written: a server, or its database."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from runstream_common.errors import InvalidArgument, NotFound

from runstream.mlflow_plugin.addresses import gateway_url, is_ours

DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})


def require_mlflow() -> None:
    """Refuse to go on without MLflow.

    Raises:
        ModuleNotFoundError: says what to install.
    """
    if find_spec("mlflow") is None or find_spec("sqlalchemy") is None:
        raise ModuleNotFoundError("moving data needs the whole of MLflow: pip install 'runstream[mlflow]'")


def is_database(uri: str) -> bool:
    """Whether a URI names the database of an MLflow server."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def mlflow_uri(uri: str, option: str) -> str:
    """What MLflow's client takes for an address that a user gave.

    Args:
        uri: http(s)://…, runstream://…, sqlite:///file, postgresql://…, mysql://…, or a folder of MLflow's file store.
        option: names the option in errors.

    Raises:
        InvalidArgument: it is none of these.
        NotFound: the file is not there; MLflow would make an empty one.
    """
    if is_ours(uri):
        return gateway_url(uri)
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"} and parts.hostname:
        return uri.rstrip("/")
    if is_database(uri):
        return _database(uri, option)
    if parts.scheme in {"", "file"} and parts.path:
        _require(Path(parts.path), option)
        # MLflow warns those who would go on with a file store, which is what the import is for.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return uri
    raise InvalidArgument.of(
        option, f"{uri!r:.300} is neither http://…, runstream://…, sqlite:///…, postgresql://… nor a folder"
    )


def _database(uri: str, option: str) -> str:
    scheme = urlsplit(uri).scheme
    if scheme.startswith("sqlite"):
        _require(Path(uri.partition(":///")[2].partition("?")[0]), option)
    if scheme == "postgresql" and find_spec("psycopg2") is None and find_spec("psycopg") is not None:
        # SQLAlchemy's name for the driver that comes with the extra.
        return uri.replace("postgresql:", "postgresql+psycopg:", 1)
    return uri


def _require(path: Path, option: str) -> None:
    if not path.exists():
        raise NotFound(f"{option}: there is no {path}", reason="FILE_NOT_FOUND")

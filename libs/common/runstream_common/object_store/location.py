"""The setting that says where files live, taken apart: ``s3://key:secret@host:port/bucket`` or ``file:///folder``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from runstream_common.errors import InvalidArgument

FIELD = "object_store_url"
AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn")
_OPTIONS = frozenset({"secure", "region", "style"})

Style = Literal["path", "virtual"]


@dataclass(frozen=True, slots=True)
class LocalLocation:
    """A folder."""

    root: Path


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket of an S3 server."""

    endpoint: str
    """Host and, if given, port."""
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    secure: bool = False
    """Whether to use TLS; always with AWS."""
    region: str = ""
    """Empty: the server is asked."""
    style: Style | None = None
    """Whether the bucket is in the path or the host name; None: in the host name with AWS, else in the path."""

    @property
    def base_url(self) -> str:
        """Scheme and endpoint."""
        return f"{'https' if self.secure else 'http'}://{self.endpoint}"


def parse_location(url: str) -> S3Location | LocalLocation:
    """Take the setting apart.

    Args:
        url: ``file:///folder``, or ``s3://key:secret@host:port/bucket`` with ``?secure=true``, ``region=…`` and
            ``style=path|virtual``; characters of key and secret that a URL reserves are percent-encoded.

    Raises:
        InvalidArgument: it has another form; the text does not repeat it, since it holds a secret.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not Path(unquote(parts.path)).is_absolute():
            raise InvalidArgument.of(FIELD, "a folder looks like file:///absolute/path")
        return LocalLocation(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return _s3_location(url)
    raise InvalidArgument.of(FIELD, "must start with s3:// or file:///")


def _s3_location(url: str) -> S3Location:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    bucket = parts.path.strip("/")
    if not (parts.username and parts.password and parts.hostname and bucket) or "/" in bucket:
        raise InvalidArgument.of(FIELD, "a bucket looks like s3://key:secret@host:port/bucket")
    unknown = options.keys() - _OPTIONS
    if unknown:
        raise InvalidArgument.of(FIELD, f"does not know {', '.join(sorted(unknown))}")
    if options.get("secure", "false") not in {"true", "false"}:
        raise InvalidArgument.of(FIELD, "secure must be true or false")
    if options.get("style", "path") not in {"path", "virtual"}:
        raise InvalidArgument.of(FIELD, "style must be path or virtual")
    return S3Location(
        endpoint=parts.netloc.rpartition("@")[2],
        bucket=bucket,
        access_key=unquote(parts.username),
        secret_key=unquote(parts.password),
        secure=options.get("secure") == "true" or parts.hostname.endswith(AWS_DOMAINS),
        region=options.get("region", ""),
        style=cast("Style | None", options.get("style")),
    )

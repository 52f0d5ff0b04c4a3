"""Every route of artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_gateway.mlflow_api.artifacts import handed_on, multipart, owned, presigned, proxy
from runstream_gateway.mlflow_api.artifacts.public_urls import PublicUrls
from runstream_gateway.mlflow_api.doors import with_twins

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends
    from runstream_gateway.files.store import ArtifactFiles
    from runstream_gateway.routes import Route
    from runstream_gateway.settings import GatewaySettings


def artifact_routes(settings: GatewaySettings, backends: Backends, files: ArtifactFiles) -> list[Route]:
    """Routes of all areas, each also where the web UI looks."""
    urls = PublicUrls(files, public_url=settings.public_url, prefix=settings.http_prefix)
    mlflows = [
        *proxy.routes(files),
        *owned.routes(backends, files),
        *multipart.routes(files, urls),
        *presigned.routes(backends, files, urls),
    ]
    return [*with_twins(mlflows), *handed_on.routes(files)]

"""URLs that clients can use by themselves: of the object store where they reach it, else of this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.files.store import ArtifactFiles

OBJECTS = "/api/runstream/v1/objects"
"""Where the gateway hands signed requests on to the object store."""
UPLOADS = "/api/runstream/v1/uploads"
"""Where the gateway takes whole contents of uploads."""


class PublicUrls:
    """Makes URLs.

    Args:
        files: knows where the object store is.
        public_url: what the gateway's own URLs begin with; empty: as the client reached it.
        prefix: path under which the gateway serves.
    """

    def __init__(self, files: ArtifactFiles, *, public_url: str, prefix: str) -> None:
        self._files = files
        self._public_url = public_url.rstrip("/")
        self._prefix = prefix

    async def of_signed(self, request: Request, url: str) -> str:
        """Where a client sends what was signed for services.

        Args:
            request: of the client.
            url: as signed.
        """
        for fresh in (False, True):
            store = await self._files.store(fresh=fresh)
            if url.startswith(f"{store.service_url}/"):
                return self._base(request) + OBJECTS + url.removeprefix(store.service_url)
        raise Unavailable("the object store's address is changing; try again", retry_after_seconds=1.0)

    def of_upload(self, request: Request, upload_id: str) -> str:
        """Where a client sends the whole content of an open upload."""
        return f"{self._base(request)}{UPLOADS}/{upload_id}"

    def of_path(self, request: Request, path: str) -> str:
        """A path of this gateway, with its query, as a client reaches it."""
        return self._base(request) + path

    def _base(self, request: Request) -> str:
        if self._public_url:
            return self._public_url
        headers = request.headers
        scheme = headers.get("x-forwarded-proto", "").partition(",")[0].strip()
        if scheme not in ("http", "https"):
            scheme = request.url.scheme
        host = headers.get("x-forwarded-host", "").partition(",")[0].strip() or headers.get("host", "")
        return f"{scheme}://{host}{self._prefix}"

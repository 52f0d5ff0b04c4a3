"""MLflow's web UI over HTTP: its page at `/` and its files below `/static-files/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from runstream_gateway.replies import PackedResponse
from runstream_gateway.routes import Route
from runstream_gateway.web_ui.assets import Assets
from runstream_gateway.web_ui.build import INDEX, find_build

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.settings import HttpSettings
    from runstream_gateway.web_ui.assets import Asset

log = structlog.get_logger(__name__)

KEEP_SECONDS = 28 * 86_400
"""As MLflow's server tells browsers; names carry a hash of what is in them."""

_NO_BUILD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Runstream</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 4rem auto; padding: 0 1rem }</style>
<h1>The server runs, but has no web UI</h1>
<p>MLflow's web UI is part of the whole <code>mlflow</code> package. Install it beside the gateway,</p>
<pre>pip install "runstream-gateway[ui]"</pre>
<p>or set <code>RUNSTREAM_MLFLOW_UI_DIR</code> to a folder that was unpacked from its wheel with</p>
<pre>python -m runstream_gateway.web_ui unpack mlflow-&lt;version&gt;-py3-none-any.whl &lt;folder&gt;</pre>
<p>and start the gateway again. The API works without it, and so does the <a href="console">console</a>.</p>
</html>
"""


def routes(settings: HttpSettings) -> list[Route]:
    """Routes of the web UI.

    Args:
        settings: the folder of the build, if one is given.
    """
    folder = find_build(settings.mlflow_ui_dir)
    if folder is None:
        log.info("mlflow_ui_absent")
        return [Route("GET", "/", no_build)]
    pages = Pages(Assets(folder))
    return [Route("GET", "/", pages.index), Route("GET", "/static-files/{path:path}", pages.file)]


async def no_build(request: Request) -> Response:
    """The page instead of the web UI: what to install."""
    del request
    return HTMLResponse(_NO_BUILD, headers={"Cache-Control": "no-cache"})


class Pages:
    """Answers from the build.

    Args:
        assets: its files.
    """

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    async def index(self, request: Request) -> Response:
        """The page that everything starts from: asked for anew each time, since it names the current files."""
        asset = await self._assets.get(INDEX)
        if asset is None:
            return await no_build(request)
        return _reply(asset, request, "no-cache")

    async def file(self, request: Request) -> Response:
        """One file."""
        asset = await self._assets.get(request.path_params["path"])
        if asset is None:
            return PlainTextResponse("Not found", status_code=404)
        return _reply(asset, request, f"public, max-age={KEEP_SECONDS}")


def _reply(asset: Asset, request: Request, cache_control: str) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": cache_control}
    if _is_known(asset.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return PackedResponse(asset.body, asset.packed, headers=headers, media_type=asset.content_type)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Weak comparison, as RFC 9110, 13.1.2 asks for."""
    plain = etag.removeprefix("W/")
    return any(item.strip().removeprefix("W/") in (plain, "*") for item in if_none_match.split(","))

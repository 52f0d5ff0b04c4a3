"""MLflow's static pages: found, served, cached, unpacked."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runstream_gateway.settings import GatewaySettings
from runstream_gateway.web_ui import __main__ as command
from runstream_gateway.web_ui import pages
from runstream_gateway.web_ui.build import find_build

from services.gateway.tests.edge.serving import serving

if TYPE_CHECKING:
    from runstream_gateway.routes import Route

SCRIPT = b"console.log('a');\n" * 500


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build of three files, and a secret beside it."""
    folder = tmp_path / "build"
    (folder / "static" / "js").mkdir(parents=True)
    (folder / "index.html").write_bytes(b"<!doctype html><title>MLflow</title>")
    (folder / "static" / "js" / "main.1.js").write_bytes(SCRIPT)
    (folder / "picture.png").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


def routes_of(folder: Path | None) -> list[Route]:
    return pages.routes(GatewaySettings(mlflow_ui_dir=folder))


async def test_files_are_served_with_their_types(build: Path) -> None:
    async with serving(routes_of(build)) as served:
        index = await served.ask("GET", "/")
        assert (index.status, index.body) == (200, b"<!doctype html><title>MLflow</title>")
        assert index.headers["cache-control"] == "no-cache"
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        script = await served.ask("GET", "/static-files/static/js/main.1.js")
        assert (script.body, script.headers["content-type"]) == (SCRIPT, "text/javascript; charset=utf-8")
        assert script.headers["cache-control"] == "public, max-age=2419200"
        picture = await served.ask("GET", "/static-files/picture.png", headers={"Accept-Encoding": "gzip"})
        assert picture.headers["content-type"] == "image/png"
        assert "content-encoding" not in picture.headers


async def test_scripts_come_packed(build: Path) -> None:
    async with serving(routes_of(build)) as served:
        answer = await served.ask(
            "GET", "/static-files/static/js/main.1.js", headers={"Accept-Encoding": "gzip"}
        )
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == SCRIPT


@pytest.mark.parametrize("path", ["/", "/static-files/static/js/main.1.js"])
async def test_what_the_browser_has_is_not_sent_again(build: Path, path: str) -> None:
    async with serving(routes_of(build)) as served:
        etag = (await served.ask("GET", path)).headers["etag"]
        for known in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
            again = await served.ask("GET", path, headers={"If-None-Match": known})
            assert (again.status, again.headers["etag"]) == (304, etag)
        changed = await served.ask("GET", path, headers={"If-None-Match": 'W/"other"'})
        assert changed.status == 200


@pytest.mark.parametrize(
    "name",
    [
        "missing.js",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "link.txt",
        "static",
        "static/",
        "",
        "/etc/passwd",
    ],
)
async def test_nothing_else_is_served(build: Path, name: str) -> None:
    async with serving(routes_of(build)) as served:
        answer = await served.ask("GET", f"/static-files/{name}")
        assert answer.status == 404
        assert b"secret" not in answer.body


async def test_a_file_that_could_not_be_read_is_tried_again(build: Path) -> None:
    script = build / "static" / "js" / "main.1.js"
    async with serving(routes_of(build)) as served:
        script.rename(build / "away")
        assert (await served.ask("GET", "/static-files/static/js/main.1.js")).status == 500
        (build / "away").rename(script)
        assert (await served.ask("GET", "/static-files/static/js/main.1.js")).status == 200


async def test_without_a_build_a_page_says_what_to_do(tmp_path: Path) -> None:
    async with serving(routes_of(tmp_path)) as served:
        answer = await served.ask("GET", "/")
        assert answer.status == 200
        assert b"runstream-gateway[ui]" in answer.body


def test_the_installed_build_is_found() -> None:
    folder = find_build(None)
    assert folder is not None
    assert (folder / "static" / "js").is_dir()


def make_wheel(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return path


def test_a_wheel_is_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        "mlflow/server/js/build/index.html",
        "mlflow/server/js/build/static/a.js",
        "mlflow/server/app.py",
    ]
    wheel = make_wheel(tmp_path / "mlflow.whl", names)
    assert command.main(["unpack", str(wheel), str(tmp_path / "ui")]) == 0
    files = {
        path.relative_to(tmp_path / "ui").as_posix()
        for path in (tmp_path / "ui").rglob("*")
        if path.is_file()
    }
    assert files == {"index.html", "static/a.js"}
    assert find_build(tmp_path / "ui") == tmp_path / "ui"
    assert "2 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["mlflow/__init__.py"], "not the whole mlflow package"),
        (["mlflow/server/js/build/index.html", "mlflow/server/js/build/../../x"], "leads out"),
    ],
)
def test_other_wheels_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], told: str
) -> None:
    wheel = make_wheel(tmp_path / "other.whl", names)
    assert command.main(["unpack", str(wheel), str(tmp_path / "ui")]) == 1
    assert told in capsys.readouterr().err


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.whl").write_text("no zip")
    assert command.main(["unpack", str(tmp_path / "x.whl"), str(tmp_path / "ui")]) == 1
    assert "cannot unpack" in capsys.readouterr().err

"""The artifact proxy over plain HTTP: statuses, headers and listings are those of MLflow 3.17."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from services.gateway.tests.artifacts.support import LARGE, PROXY, send_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.gateway.tests.artifacts.support import Run

UNSAFE = (
    "../x",
    "..%2fx",
    "%2e%2e/x",
    "%252e%252e/x",
    "a/../b",
    "..",
    "/etc/passwd",
    "%2fetc",
    "file:///etc/x",
    "file:x",
    "C:/x",
    "C:%5Cx",
    "a%23b",
    "a%2523b",
)


@pytest.mark.parametrize("size_bytes", [0, 1, 1_048_576, 1_048_577, len(LARGE)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_comes_back_as_it_was_sent(run: Run, size_bytes: int, chunked: bool) -> None:
    content = LARGE[:size_bytes]

    def pieces() -> Iterator[bytes]:
        for at in range(0, size_bytes, 100_000):
            yield content[at : at + 100_000]

    sent = requests.put(run.at("d/file.bin"), data=pieces() if chunked else content, timeout=60)
    got = requests.get(run.at("d/file.bin"), timeout=60)

    assert (sent.status_code, sent.content) == (200, b"")
    assert (got.status_code, got.content) == (200, content)
    assert got.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'


def test_a_file_is_replaced(run: Run) -> None:
    for content in (b"one", LARGE, b"three"):
        run.put("a.txt", content)
    assert requests.get(run.at("a.txt"), timeout=60).content == b"three"
    assert run.listed() == [{"path": "a.txt", "is_dir": False, "file_size": 5}]


@pytest.mark.parametrize(
    ("name", "content_type", "disposition"),
    [
        ("a.txt", "text/plain", "attachment; filename=a.txt"),
        ("x.json", "text/plain", "attachment; filename=x.json"),
        ("MLmodel", "text/plain", "attachment; filename=MLmodel"),
        ("p.png", "image/png", "attachment; filename=p.png"),
        ("p.html", "text/html", "attachment; filename=p.html"),
        ("x.tar.gz", "application/x-tar", "attachment; filename=x.tar.gz"),
        ("model.pkl", "application/octet-stream", "attachment; filename=model.pkl"),
        ("a b.csv", "text/plain", 'attachment; filename="a b.csv"'),
        (
            "日本 語.csv",
            "text/plain",
            "attachment; filename=\" .csv\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%20%E8%AA%9E.csv",
        ),
    ],
)
def test_downloads_are_attachments_of_the_type_that_their_name_says(
    run: Run, name: str, content_type: str, disposition: str
) -> None:
    run.put(name, b"content")

    for answer in (requests.get(run.at(name), timeout=60), requests.head(run.at(name), timeout=60)):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == content_type
        assert answer.headers["Content-Disposition"] == disposition
        assert answer.headers["Content-Length"] == "7"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("content", [b"0123456789" * 200, LARGE])
def test_ranges(run: Run, content: bytes) -> None:
    run.put("f", content)
    size = len(content)
    for asked, first, end in (
        ("1-2", 1, 3),
        ("-2", size - 2, size),
        ("4-", 4, size),
        (f"0-{size * 2}", 0, size),
    ):
        answer = requests.get(run.at("f"), headers={"Range": f"bytes={asked}"}, timeout=60)
        assert (answer.status_code, answer.content) == (206, content[first:end])
        assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"
    beyond = requests.get(run.at("f"), headers={"Range": f"bytes={size}-"}, timeout=60)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    for ignored in ("lines=1-2", "bytes=2-1", "bytes=-", "bytes=1-2,4-5"):
        answer = requests.get(run.at("f"), headers={"Range": ignored}, timeout=60)
        assert (answer.status_code, answer.content) == (200, content)


def test_conditions(run: Run) -> None:
    run.put("f", b"0123456789")
    etag = requests.get(run.at("f"), timeout=60).headers["ETag"]

    same = requests.get(run.at("f"), headers={"If-None-Match": etag}, timeout=60)
    other = requests.get(run.at("f"), headers={"If-None-Match": '"x"'}, timeout=60)
    stale = requests.get(run.at("f"), headers={"Range": "bytes=1-2", "If-Range": '"x"'}, timeout=60)
    fresh = requests.get(run.at("f"), headers={"Range": "bytes=1-2", "If-Range": etag}, timeout=60)

    assert (same.status_code, same.content) == (304, b"")
    assert (other.status_code, stale.status_code, fresh.status_code) == (200, 200, 206)


def test_directories_list_their_entries_by_name(run: Run) -> None:
    for path in ("b/inner", "a.txt", "b.txt", "zero"):
        run.put(path, b"" if path == "zero" else b"1234")

    assert run.listed() == [
        {"path": "a.txt", "is_dir": False, "file_size": 4},
        {"path": "b", "is_dir": True},
        {"path": "b.txt", "is_dir": False, "file_size": 4},
        {"path": "zero", "is_dir": False},
    ]
    assert run.listed("b") == run.listed("b/") == [{"path": "inner", "is_dir": False, "file_size": 4}]
    assert run.listed("a.txt") == run.listed("missing") == []
    above = requests.get(run.url + PROXY, params={"path": f"{run.experiment_id}/{run.run_id}"}, timeout=60)
    assert above.json() == {"files": [{"path": "artifacts", "is_dir": True}]}


def test_what_is_missing_and_what_is_no_file(run: Run) -> None:
    run.put("d/f", b"1")
    missing = requests.get(run.at("nope"), timeout=60)
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert missing.json()["message"] == f"No such artifact: '{run.root}/nope'"
    for path in ("d", "d/", ""):
        answer = requests.get(run.at(path), timeout=60)
        assert answer.status_code == 400
        assert "refers to a directory" in answer.json()["message"]
    for path in ("x/", ""):
        assert requests.put(run.at(path), data=b"1", timeout=60).status_code == 400
    for path in ("d", "d/f/below"):
        answer = requests.put(run.at(path), data=b"1", timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_files_and_trees_are_deleted_and_what_is_missing_is_no_error(run: Run) -> None:
    for path in ("a", "d/b", "d/e/c"):
        run.put(path, b"1")
    for path in ("a", "a", "d/e", "nope"):
        answer = requests.delete(run.at(path), timeout=60)
        assert (answer.status_code, answer.json()) == (200, {})
    assert run.names() == ["d"]
    assert run.names("d") == ["b"]
    assert requests.delete(f"{run.url}{PROXY}/{run.root}", timeout=60).status_code == 200
    assert run.names() == []


@pytest.mark.parametrize("path", UNSAFE)
def test_paths_that_lead_out_of_the_tree_are_refused(gateway_url: str, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = send_raw(method, gateway_url, f"{PROXY}/{path}", b"1" if method == "PUT" else None)
        assert (answer.status_code, answer.json()["message"]) == (400, "Invalid path"), method
    answer = send_raw("GET", gateway_url, f"{PROXY}?path={path}")
    assert (answer.status_code, answer.json()["message"]) == (400, "Invalid path")


@pytest.mark.parametrize("path", ["q//w.txt", "aux/con.txt", "back%5Cslash", "dot.", "what%3f", "%D0%BF"])
def test_paths_that_mlflow_takes(run: Run, path: str) -> None:
    where = f"{PROXY}/{run.root}/{path}"
    assert send_raw("PUT", run.url, where, b"content").status_code == 200
    assert send_raw("GET", run.url, where).content == b"content"
    assert len(run.listed()) == 1


def test_unknown_and_deleted_runs_and_any_other_path_take_files(run: Run) -> None:
    requests.post(f"{run.url}/api/2.0/mlflow/runs/delete", json={"run_id": run.run_id}, timeout=60)
    unknown = f"{run.experiment_id}/{'0' * 32}/artifacts/u.txt"
    rest = f"any/{run.run_id}.txt"
    for path in (f"{run.root}/after.txt", unknown, rest):
        assert requests.put(f"{run.url}{PROXY}/{path}", data=LARGE, timeout=60).status_code == 200
        assert requests.get(f"{run.url}{PROXY}/{path}", timeout=60).content == LARGE
    listed = requests.get(run.url + PROXY, params={"path": "any"}, timeout=60).json()["files"]
    assert f"{run.run_id}.txt" in [file["path"] for file in listed]
    assert requests.delete(f"{run.url}{PROXY}/{rest}", timeout=60).status_code == 200
    assert requests.get(f"{run.url}{PROXY}/{rest}", timeout=60).status_code == 404


@pytest.mark.parametrize("announced", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
def test_nothing_stays_of_an_upload_that_broke_off(run: Run, announced: str) -> None:
    parts = urlsplit(run.at("half.bin"))
    piece = b"x" * 2_000_000
    body = piece if "Length" in announced else b"%x\r\n%s\r\n" % (len(piece), piece)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as client:
        head = f"PUT {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{announced}\r\n\r\n"
        client.sendall(head.encode() + body)
    run.put("other", b"1")
    assert run.names() == ["other"]


def test_the_uis_addresses_are_the_same(run: Run) -> None:
    run.put("d/f.txt", b"text")
    at = f"{run.url}/ajax-api/2.0/mlflow-artifacts/artifacts"
    assert requests.get(f"{at}/{run.root}/d/f.txt", timeout=60).content == b"text"
    assert requests.get(at, params={"path": run.root}, timeout=60).json() == {"files": run.listed()}

"""Content in parts and by signed URLs over plain HTTP, on embedded defaults: every URL points back at the gateway."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests

from services.gateway.tests.artifacts.support import LARGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.gateway.tests.artifacts.support import Run

PARTS = (LARGE, LARGE, b"the end")


def mpu(run: Run, action: str, directory: str, **body: Any) -> requests.Response:
    at = f"{run.url}/api/2.0/mlflow-artifacts/mpu/{action}/{run.root}/{directory}"
    return requests.post(at.rstrip("/"), json=body, timeout=60)


def created(run: Run, parts: int, directory: str = "d", path: str = "/home/me/big.bin") -> dict[str, Any]:
    answer = mpu(run, "create", directory, path=path, num_parts=parts)
    assert answer.status_code == 200, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def put_part(credential: dict[str, Any], content: bytes) -> dict[str, Any]:
    answer = requests.put(credential["url"], data=content, headers=credential.get("headers", {}), timeout=60)
    assert answer.status_code == 200, answer.text
    return {
        "part_number": credential["part_number"],
        "etag": answer.headers["ETag"],
        "url": credential["url"],
    }


def sent(upload: dict[str, Any], parts: Sequence[bytes]) -> list[dict[str, Any]]:
    """Send the parts at the same time."""
    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(put_part, upload["credentials"], parts))


def test_parts_sent_in_parallel_become_a_file(run: Run) -> None:
    upload = created(run, 3)
    assert all(item["url"].startswith(run.url) for item in upload["credentials"])
    parts = sent(upload, PARTS)
    assert run.names() == []

    answer = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=parts)

    assert (answer.status_code, answer.json()) == (200, {})
    got = requests.get(run.at("d/big.bin"), timeout=60)
    assert got.content == b"".join(PARTS)
    assert got.headers["ETag"] == f'"{hashlib.sha256(got.content).hexdigest()}"'


def test_a_windows_clients_path_names_its_file(run: Run) -> None:
    upload = created(run, 1, path="C:\\data\\big.bin")
    parts = sent(upload, PARTS[:1])
    mpu(run, "complete", "d", path="C:\\data\\big.bin", upload_id=upload["upload_id"], parts=parts)
    assert run.names("d") == ["big.bin"]


def test_more_parts_than_one_call_signs(run: Run) -> None:
    credentials = created(run, 1_234)["credentials"]
    assert [item["part_number"] for item in credentials] == list(range(1, 1_235))
    assert len({item["url"] for item in credentials}) == 1_234


def test_an_aborted_upload_is_gone(run: Run) -> None:
    upload = created(run, 2)
    parts = sent(upload, PARTS[:2])

    for _ in range(2):
        answer = mpu(run, "abort", "d", path="big.bin", upload_id=upload["upload_id"])
        assert (answer.status_code, answer.json()) == (200, {})

    late = requests.put(upload["credentials"][0]["url"], data=b"x", timeout=60)
    assert late.status_code == 404
    answer = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=parts)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert run.names() == []


def test_what_does_not_fit_is_refused_and_nothing_is_visible(run: Run) -> None:
    upload = created(run, 2)
    parts = sent(upload, PARTS[:1])
    missing = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=parts)
    parts += [put_part(upload["credentials"][1], b"end")]
    wrong = [{**part, "etag": "0"} for part in parts]
    other_etag = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=wrong)
    other_file = mpu(run, "complete", "d", path="x.bin", upload_id=upload["upload_id"], parts=parts)
    twice = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=parts[:1] * 2)
    assert [answer.status_code for answer in (missing, other_etag, other_file, twice)] == [400, 400, 404, 400]
    assert run.names() == []
    right = mpu(run, "complete", "d", path="big.bin", upload_id=upload["upload_id"], parts=parts)
    assert right.status_code == 200


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("create", {"num_parts": 2}, "Missing value for required parameter 'path'"),
        ("create", {"path": "a", "num_parts": "x"}, "'num_parts'"),
        ("create", {"path": "a", "num_parts": 0}, "num_parts must be"),
        ("create", {"path": "a", "num_parts": 10_001}, "num_parts must be"),
        ("create", {"path": "a/..", "num_parts": 1}, "Invalid path"),
        ("complete", {"path": "a", "upload_id": "x"}, "'parts'"),
        ("complete", {"upload_id": "x", "parts": [{"part_number": 1}]}, "'path'"),
        ("abort", {"upload_id": "x"}, "'path'"),
    ],
)
def test_bodies_are_checked(run: Run, action: str, body: dict[str, Any], said: str) -> None:
    answer = mpu(run, action, "d", **body)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_a_signed_download_serves_ranges_without_anything_else(run: Run) -> None:
    run.put("d/f.bin", LARGE)
    signed = requests.get(
        f"{run.url}/api/2.0/mlflow-artifacts/presigned/{run.root}/d/f.bin", timeout=60
    ).json()
    assert signed["file_size"] == len(LARGE)
    assert signed["url"].startswith(run.url)

    whole = requests.get(signed["url"], headers=signed["headers"], timeout=60)
    middle = requests.get(signed["url"], headers={"Range": "bytes=1000000-1999999"}, timeout=60)
    head = requests.head(signed["url"], timeout=60)

    assert (whole.status_code, whole.content) == (200, LARGE)
    assert (middle.status_code, middle.content) == (206, LARGE[1_000_000:2_000_000])
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(LARGE)))
    for changed in (signed["url"] + "x", signed["url"].replace("/objects/blobs/", "/objects/blobz/")):
        assert requests.get(changed, timeout=60).status_code == 403
    assert requests.put(signed["url"], data=b"x", timeout=60).status_code in (403, 411)
    assert requests.get(signed["url"].partition("?")[0], timeout=60).status_code == 403
    missing = requests.get(f"{run.url}/api/2.0/mlflow-artifacts/presigned/{run.root}/nope", timeout=60)
    assert missing.status_code == 404


def signed_url(run: Run, kind: str, **body: Any) -> requests.Response:
    at = f"{run.url}/api/2.0/mlflow/artifacts/presigned-{kind}-url"
    return requests.post(at, json=body, timeout=60)


def test_a_file_is_stored_and_fetched_by_signed_urls_of_a_run(run: Run) -> None:
    up = signed_url(run, "upload", run_id=run.run_id, path="d/f.bin").json()
    assert run.names() == []

    stored = requests.put(up["presigned_url"], data=LARGE, headers=up.get("headers", {}), timeout=60)
    down = signed_url(run, "download", run_id=run.run_id, path="d/f.bin", expiration=60).json()

    assert stored.status_code == 200
    assert down["file_size"] == len(LARGE)
    got = requests.get(down["presigned_url"], headers=down.get("headers", {}), timeout=60)
    assert got.content == LARGE
    assert requests.put(up["presigned_url"], data=b"again", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("download", {"path": "a"}, 400),
        ("download", {"run_id": "0" * 32, "path": "a"}, 404),
        ("download", {"run_id": "0" * 32, "path": "a", "expiration": 0}, 400),
        ("download", {"run_id": "0" * 32, "path": "../a"}, 400),
        ("upload", {"path": "a"}, 400),
        ("upload", {"run_id": "a", "model_id": "b", "path": "a"}, 400),
        ("upload", {"run_id": "0" * 32, "path": "a"}, 404),
        ("upload", {"model_id": "m-" + "0" * 32, "path": "a"}, 404),
    ],
)
def test_signed_urls_are_refused(run: Run, kind: str, body: dict[str, Any], status: int) -> None:
    assert signed_url(run, kind, **body).status_code == status


def test_an_unknown_upload_takes_nothing(run: Run) -> None:
    for upload_id in ("x", "00000000-0000-7000-8000-000000000000"):
        at = f"{run.url}/api/runstream/v1/uploads/{upload_id}"
        assert requests.put(at, data=b"x", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("headers", "begin"),
    [
        ({"Host": "localhost:1234"}, "http://localhost:1234/api/"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "files.example.org"},
            "https://files.example.org/api/",
        ),
    ],
)
def test_urls_are_as_the_client_reached_the_gateway(run: Run, headers: dict[str, str], begin: str) -> None:
    run.put("f", b"1")
    at = f"{run.url}/api/2.0/mlflow-artifacts/presigned/{run.root}/f"
    assert requests.get(at, headers=headers, timeout=60).json()["url"].startswith(begin)

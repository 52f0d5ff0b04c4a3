"""Every endpoint of MLflow that is served, with wrong types, sizes, nulls, unicode and depth: refused, never a fault."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from runstream_gateway.mlflow_api import absent

from tests.support.http_fuzz import (
    FUZZED,
    UNDECLARED,
    Endpoint,
    Request,
    endpoints,
    fault,
    requests_for,
    undeclared_requests,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = tuple(root for area in absent.AREAS for root in area.roots)


def _served() -> dict[str, list[Endpoint]]:
    """Endpoints by area, without those that are absent."""
    areas: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints():
        if not any(endpoint.path == root or endpoint.path.startswith(root + "/") for root in ABSENT):
            _, _, _, package, area, *_ = endpoint.path.split("/")
            areas.setdefault(area if package == "mlflow" else package, []).append(endpoint)
    return areas


SERVED = _served()
_names = (f"fuzzed-{number}" for number in itertools.count())


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One connection: a fault that breaks it is seen too."""
    with requests.Session() as opened:
        yield opened


def _post(session: requests.Session, url: str, path: str, body: dict[str, Any]) -> Any:
    answer = session.post(f"{url}/api/2.0/mlflow/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _things(session: requests.Session, url: str) -> dict[str, list[Any]]:
    """Something of each kind, by the names of the fields that refer to it."""
    name = next(_names)
    experiment = _post(session, url, "experiments/create", {"name": name})["experiment_id"]
    run = _post(session, url, "runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"][
        "run_id"
    ]
    _post(session, url, "runs/log-metric", {"run_id": run, "key": "a", "value": 1, "timestamp": 1})
    _post(session, url, "registered-models/create", {"name": name})
    _post(session, url, "model-versions/create", {"name": name, "source": "s3://bucket/model"})
    model = _post(session, url, "logged-models", {"experiment_id": experiment, "name": "model"})["model"][
        "info"
    ]
    file = f"{experiment}/{run}/artifacts/file"
    session.put(f"{url}/api/2.0/mlflow-artifacts/artifacts/{file}", data=b"content").raise_for_status()
    return {
        "experiment_id": [experiment],
        "experiment_ids": [experiment],
        "experiment_name": [name],
        "name": [name, next(_names)],
        "run_id": [run],
        "run_uuid": [run],
        "run_ids": [run],
        "metric_key": ["a"],
        "version": ["1"],
        "model_id": [model["model_id"]],
        "artifact_path": [file, "file"],
        "path": ["file", ""],
        "max_results": [1, 10],
    }


def _check(request: Request, answer: requests.Response) -> None:
    found = fault(answer)
    told = f"{request.method} {request.path[:500]}\n{request.body!r:.500}\n{answer.text[:500]}"
    assert found is None, f"{found}\n{told}"


@pytest.mark.parametrize("area", sorted(SERVED))
def test_nothing_makes_it_fail(gateway_url: str, session: requests.Session, area: str) -> None:
    known = _things(session, gateway_url)
    for endpoint in SERVED[area]:

        @FUZZED
        @given(requests_for(endpoint, known))
        def refuse_or_answer(request: Request) -> None:
            _check(request, request.send(session, gateway_url))

        refuse_or_answer()


@pytest.mark.parametrize(("method", "path", "names"), UNDECLARED, ids=str)
def test_nothing_makes_the_web_uis_own_endpoints_fail(
    gateway_url: str, session: requests.Session, method: str, path: str, names: tuple[str, ...]
) -> None:
    known = _things(session, gateway_url)

    @FUZZED
    @given(undeclared_requests(method, path, names, known))
    def refuse_or_answer(request: Request) -> None:
        _check(request, request.send(session, gateway_url))

    refuse_or_answer()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"])
@FUZZED
@given(path=st.text(max_size=30))
def test_no_path_makes_it_fail(gateway_url: str, method: str, path: str) -> None:
    url = f"{gateway_url}/{requests.utils.quote(path, safe='/%', errors='replace')}"
    answer = requests.request(method, url, allow_redirects=False)
    assert answer.status_code < 500 or answer.status_code == 501

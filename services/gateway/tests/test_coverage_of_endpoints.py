"""Every endpoint that MLflow's own server registers is here, be it to say that its area is absent."""

from __future__ import annotations

import re

import pytest
import requests
from runstream_gateway.mlflow_api import absent

NOT_OURS = {
    # Registered by a slip: it lacks a slash, and MLflow's server itself answers 404 to it.
    "/api/2.0mlflow/experiments/search-datasets",
    "/ajax-api/2.0mlflow/experiments/search-datasets",
    # A second name of the static files that no page uses.
    "/build/x/y",
    # Schema pages of the framework that MLflow is built with.
    "/docs",
    "/docs/oauth2-redirect",
    "/openapi.json",
    "/redoc",
}


def _registered() -> set[tuple[str, str]]:
    # Imported here: it takes seconds.
    from mlflow.server import app
    from mlflow.server.artifact_router import artifact_router
    from mlflow.server.assistant.api import assistant_router
    from mlflow.server.gateway_api import gateway_router
    from mlflow.server.handlers import get_endpoints
    from mlflow.server.job_api import job_api_router
    from mlflow.server.mcp_server_api import get_mcp_server_api_route_prefixes, mcp_server_router
    from mlflow.server.otel_api import otel_router
    from mlflow.server.server_info_api import server_info_router

    found = {(method, path) for path, _, methods in get_endpoints() for method in methods}
    found |= {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    routers = (
        artifact_router,
        assistant_router,
        gateway_router,
        job_api_router,
        otel_router,
        server_info_router,
    )
    for router in routers:
        found |= {(method, route.path) for route in router.routes for method in route.methods}
    for prefix in get_mcp_server_api_route_prefixes():
        found |= {
            (method, prefix + route.path) for route in mcp_server_router.routes for method in route.methods
        }
    return {(method, _example(path)) for method, path in found if method not in ("HEAD", "OPTIONS")}


def _example(path: str) -> str:
    path = re.sub(r"<path:\w+>|\{\w+:path\}", "x/y", path)
    return re.sub(r"<[^>]+>|\{[^}]+\}", "x", path)


def test_every_endpoint_of_mlflow_is_answered(gateway_url: str) -> None:
    registered = {(method, path) for method, path in _registered() if path not in NOT_OURS}
    assert len(registered) > 480
    with requests.Session() as session:
        allowed = {
            path: session.options(gateway_url + path).headers.get("Allow", "").split(", ")
            for path in sorted({path for _, path in registered})
        }
    missing = sorted(f"{method} {path}" for method, path in registered if method not in allowed[path])
    assert missing == []


@pytest.mark.parametrize("area", absent.AREAS, ids=lambda area: area.roots[0])
def test_an_absent_area_says_so(gateway_url: str, area: absent.Area) -> None:
    for path in (area.roots[-1], area.roots[-1] + "/some/more"):
        for method in ("GET", "POST"):
            answer = requests.request(method, gateway_url + path, json={} if method == "POST" else None)
            assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
            assert answer.json()["message"] == area.message


def test_pages_of_covered_areas_meet_no_failures(gateway_url: str) -> None:
    for method, path in absent.EMPTY:
        assert requests.request(method, gateway_url + path).status_code == 200


def test_the_server_tells_what_it_is(gateway_url: str) -> None:
    assert requests.get(f"{gateway_url}/health").text == "OK"
    assert re.fullmatch(r"3\.17\.\d+", requests.get(f"{gateway_url}/version").text)
    for door in ("api", "ajax-api"):
        info = requests.get(f"{gateway_url}/{door}/3.0/mlflow/server-info").json()
        assert info["store_type"] == "SqlStore"
        assert info["workspaces_enabled"] is False
        assert info["features_enabled"] == {"gateway": False}


def test_nothing_is_told_about_the_use_of_the_ui(gateway_url: str) -> None:
    path = f"{gateway_url}/ajax-api/3.0/mlflow/ui-telemetry"
    assert requests.get(path).json()["disable_ui_telemetry"] is True
    assert requests.post(path, json={"events": [1]}).json() == {"status": "disabled"}

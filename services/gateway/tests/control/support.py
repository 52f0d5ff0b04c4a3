"""Models with versions to promote, and calls of our own API as somebody."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import requests
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.service_stack import ServiceStack


class Api:
    """Our own API at a gateway, called as one person."""

    def __init__(self, gateway_url: str, actor: str = "ada") -> None:
        self.gateway_url = gateway_url
        self.actor = actor

    def as_(self, actor: str) -> Api:
        return Api(self.gateway_url, actor)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        return requests.request(
            method,
            f"{self.gateway_url}/api/runstream/v1{path}",
            json=body,
            params=query,
            headers={"X-Runstream-Actor": self.actor} if self.actor else {},
            timeout=60,
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._ok(self.call("GET", path, **query))

    def post(self, path: str, body: Any) -> Any:
        return self._ok(self.call("POST", path, body))

    def put(self, path: str, body: Any) -> Any:
        return self._ok(self.call("PUT", path, body))

    def refused(self, method: str, path: str, body: Any = None, *, status: int, **query: Any) -> Any:
        answer = self.call(method, path, body, **query)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        return problem

    @staticmethod
    def _ok(answer: requests.Response) -> Any:
        assert answer.ok, answer.text
        return answer.json() if answer.content else None


def champion(version: int, **more: Any) -> dict[str, Any]:
    """The order to promote a version to champion."""
    return {"version": version, "target": {"alias": "champion"}, **more}


def unique(word: str) -> str:
    """A name that no other test has."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


def add_model(
    stack: ServiceStack, name: str, versions: int = 2, tags: Mapping[str, str] | None = None
) -> None:
    """Register a model whose files are elsewhere.

    Args:
        tags: of every version.
    """
    with grpc.insecure_channel(stack.registry.target) as channel:
        models: Any = ModelServiceStub(channel)
        for number in range(1, versions + 1):
            models.CreateVersion(
                pb.CreateVersionRequest(
                    name=name,
                    source=f"s3://elsewhere/{name}/{number}",
                    create_model=True,
                    tags=[types_pb2.Tag(key=key, value=value) for key, value in (tags or {}).items()],
                ),
                metadata=[("runstream-actor", "ci")],
                timeout=30,
            )

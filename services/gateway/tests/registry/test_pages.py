"""Pages of MLflow's sizes out of smaller answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from mlflow.exceptions import MlflowException
from runstream_common.errors import InvalidArgument
from runstream_common.rpc.status import to_status
from runstream_gateway.mlflow_api.pages import MAX_PART
from runstream_gateway.mlflow_api.registry.pages import gather_page
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types
from starlette.requests import Request

HTTP = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})


@dataclass
class Registry:
    """Holds versions 1, 2, 3…; refuses answers with more of them than fit. Tokens are the last version."""

    versions: int
    fit: int
    sizes: list[int] = field(default_factory=list)

    async def search(self, message: pb.SearchVersionsRequest, **_: Any) -> pb.SearchVersionsResponse:
        self.sizes.append(message.page_size)
        if message.page_size > self.fit:
            refusal = to_status(InvalidArgument.of("page_size", "ask for fewer", reason="PAGE_TOO_LARGE"))
            metadata = grpc.aio.Metadata(*refusal.trailing_metadata)
            raise grpc.aio.AioRpcError(refusal.code, grpc.aio.Metadata(), metadata, refusal.details)
        first = int(message.page_token or 0) + 1
        last = min(first + message.page_size - 1, self.versions)
        token = str(last) if last < self.versions else ""
        versions = [types.ModelVersion(version=number) for number in range(first, last + 1)]
        return pb.SearchVersionsResponse(versions=versions, next_page_token=token)


async def _gather(registry: Registry, wanted: int, token: str = "") -> tuple[list[int], str]:
    message = pb.SearchVersionsRequest(page_token=token)
    found, token = await gather_page(
        HTTP, registry.search, message, results="versions", wanted=wanted, timeout_seconds=1
    )
    return [version.version for version in found], token


async def test_a_large_page_is_gathered_from_several_answers() -> None:
    registry = Registry(versions=2_500, fit=MAX_PART)
    assert await _gather(registry, 200_000) == (list(range(1, 2_501)), "")
    assert await _gather(registry, 1_200) == (list(range(1, 1_201)), "1200")
    assert await _gather(registry, 2, token="1200") == ([1_201, 1_202], "1202")
    assert registry.sizes == [1_000, 1_000, 1_000, 1_000, 200, 2]


async def test_answers_that_do_not_fit_a_message_are_asked_for_in_parts() -> None:
    registry = Registry(versions=100, fit=20)
    assert await _gather(registry, 50) == (list(range(1, 51)), "50")
    assert registry.sizes == [50, 6, 6, 6, 6, 6, 6, 6, 6, 2]


async def test_a_single_result_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MlflowException, match="ask for fewer"):
        await _gather(Registry(versions=5, fit=0), 5)

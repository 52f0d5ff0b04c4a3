"""Pages that are gathered from several answers of a service."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from mlflow.exceptions import MlflowException
from runstream_common.errors import InvalidArgument, PlatformError, Unavailable
from runstream_common.rpc.status import to_status
from runstream_gateway.mlflow_api.pages import MAX_PART, page_parts
from runstream_proto.metadata.v1 import run_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types


def rpc_error(error: PlatformError) -> grpc.RpcError:
    status = to_status(error)
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.details)


# ruff: noqa: ASYNC109 - the signature is a stub's


class Search:
    """A service with numbered runs, which refuses answers with more than so many of them."""

    def __init__(self, runs: int, fit: int = 10**9) -> None:
        self._runs, self._fit = runs, fit
        self.sizes: list[int] = []

    async def __call__(
        self, message: pb.SearchRunsRequest, *, timeout: float, metadata: object = None
    ) -> pb.SearchRunsResponse:
        assert timeout == 5
        self.sizes.append(message.page_size)
        if message.page_size > self._fit:
            raise rpc_error(InvalidArgument.of("page_size", "too many", reason="PAGE_TOO_LARGE"))
        start = int(message.page_token or 0)
        end = min(start + message.page_size, self._runs)
        token = str(end) if end < self._runs else ""
        runs = [types.Run(run_id=str(number)) for number in range(start, end)]
        return pb.SearchRunsResponse(runs=runs, next_page_token=token)


async def gathered(search: Any, wanted: int, token: str = "") -> tuple[Sequence[str], str]:
    found: list[str] = []
    message = pb.SearchRunsRequest(page_token=token)
    parts = page_parts(search, message, results="runs", wanted=wanted, timeout_seconds=5)
    async for runs, behind in parts:
        found += [run.run_id for run in runs]
        token = behind
    return found, token


async def test_a_large_page_is_made_of_parts() -> None:
    search = Search(runs=5_000)
    found, token = await gathered(search, wanted=2_500, token="10")
    assert found == [str(number) for number in range(10, 2_510)]
    assert token == "2510"
    assert search.sizes == [MAX_PART, MAX_PART, 500]


async def test_the_last_page_has_no_token() -> None:
    assert await gathered(Search(runs=3), wanted=3) == (["0", "1", "2"], "")
    assert await gathered(Search(runs=0), wanted=3) == ([], "")


async def test_what_is_wide_comes_in_smaller_parts() -> None:
    search = Search(runs=40, fit=20)
    found, token = await gathered(search, wanted=30)
    assert (len(found), token) == (30, "30")
    assert search.sizes == [30, 3, *[3] * 9]


async def test_a_refusal_is_told() -> None:
    with pytest.raises(MlflowException, match="too many"):
        await gathered(Search(runs=5, fit=0), wanted=5)

    async def away(
        message: pb.SearchRunsRequest, *, timeout: float, metadata: object = None
    ) -> pb.SearchRunsResponse:
        raise rpc_error(Unavailable(f"{message.page_size} cannot be had in {timeout} s"))

    with pytest.raises(MlflowException, match="cannot be had") as refused:
        await gathered(away, wanted=5)
    assert refused.value.error_code == "TEMPORARILY_UNAVAILABLE"

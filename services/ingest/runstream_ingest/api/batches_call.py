"""One LogMetricBatches call: many batches, one round trip to the bus, an outcome for each."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument, PlatformError
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1.ingest_service_pb2 import BatchAck, BatchRejection, LogMetricBatchesResponse

from runstream_ingest.api.rejections import NOT_STORED, rejection
from runstream_ingest.intake import CheckedBatch, Intake, check, decode_message
from runstream_ingest.metrics import BATCHES_REFUSED, count_accepted

if TYPE_CHECKING:
    from runstream_common.bus.messages import Position

MAX_BATCHES = 10_000
"""Batches of one call."""


def check_size(batches: Sequence[bytes]) -> int:
    """Bytes of the batches together.

    Raises:
        InvalidArgument: there is none, or they are too many or too large.
    """
    if not 1 <= len(batches) <= MAX_BATCHES:
        raise InvalidArgument.of("batches", f"needs 1 to {MAX_BATCHES} batches, has {len(batches)}")
    size_bytes = sum(map(len, batches))
    if size_bytes > MAX_MESSAGE_BYTES:
        raise InvalidArgument.of(
            "batches", f"have {size_bytes} bytes together, at most {MAX_MESSAGE_BYTES} are allowed"
        )
    return size_bytes


class BatchesCall:
    """Takes batches to the bus at once; what one of them is refused for does not touch the others.

    Args:
        intake: checks runs and forwards.
        runs_checked: whether the caller has just asked for the runs.
    """

    def __init__(self, intake: Intake, *, runs_checked: bool) -> None:
        self._intake = intake
        self._runs_checked = runs_checked
        self._answer = LogMetricBatchesResponse()

    async def run(self, batches: Sequence[bytes]) -> LogMetricBatchesResponse:
        """Returns when each batch is durable or refused."""
        checked = [
            (index, batch) for index, data in enumerate(batches) if (batch := self._check(index, data))
        ]
        taken = await self._with_active_run(checked)
        forwarded = [
            (index, batch, future) for index, batch in taken if (future := self._forward(index, batch))
        ]
        if forwarded:
            await asyncio.wait([future for _, _, future in forwarded])
        for index, batch, future in forwarded:
            self._settle(index, batch, future)
        return self._answer

    def _check(self, index: int, data: bytes) -> CheckedBatch | None:
        try:
            return check(decode_message(data), data)
        except PlatformError as error:
            self._refuse(index, error)
            return None

    async def _with_active_run(
        self, batches: Sequence[tuple[int, CheckedBatch]]
    ) -> Sequence[tuple[int, CheckedBatch]]:
        if self._runs_checked:
            for _, batch in batches:
                self._intake.note_active(batch.run_id)
            return batches
        # The questions become one call: RunStates gathers them.
        outcomes = await asyncio.gather(
            *(self._intake.require_run(batch) for _, batch in batches), return_exceptions=True
        )
        taken = []
        for (index, batch), outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                self._refuse(index, outcome)
            elif outcome is not None:
                raise outcome
            else:
                taken.append((index, batch))
        return taken

    def _forward(self, index: int, batch: CheckedBatch) -> "asyncio.Future[Position] | None":
        try:
            return self._intake.forward(batch)
        except PlatformError as error:
            self._refuse(index, error)
            return None

    def _settle(self, index: int, batch: CheckedBatch, durable: "asyncio.Future[Position]") -> None:
        error = NOT_STORED if durable.cancelled() else durable.exception()
        if error is not None:
            self._refuse(index, error if isinstance(error, PlatformError) else NOT_STORED)
            return
        position = durable.result()
        count_accepted(batch.point_count)
        self._answer.acks.append(
            BatchAck(
                sequence=index,
                position=BusPosition(
                    topic=position.topic, partition=position.partition, offset=position.offset
                ),
            )
        )

    def _refuse(self, index: int, error: PlatformError) -> None:
        BATCHES_REFUSED.labels(error.reason).inc()
        refused: BatchRejection = rejection(index, error)
        self._answer.rejections.append(refused)

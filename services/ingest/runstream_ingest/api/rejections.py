"""Refusals of single batches, as answers that carry several of them tell them."""

from runstream_common.errors import PlatformError, Unavailable
from runstream_common.rpc.status import status_code
from runstream_proto.ingest.v1.ingest_service_pb2 import BatchRejection

DEFAULT_RETRY_DELAY_MS = 1000
"""Advice for retryable errors that do not say when to come back."""

NOT_STORED = Unavailable("the batch was not stored; send it again", reason="NOT_STORED")
"""For failures of the bus that it does not explain: the batch may be durable, and its id makes a repeat harmless."""


def rejection(sequence: int, error: PlatformError) -> BatchRejection:
    """The answer for a refused batch.

    Args:
        sequence: the client's number for the batch.
        error: why; retryable ones carry a delay.
    """
    delay_ms = 0
    if error.retryable:
        after_seconds = getattr(error, "retry_after_seconds", None)
        delay_ms = DEFAULT_RETRY_DELAY_MS if after_seconds is None else max(1, int(after_seconds * 1000))
    return BatchRejection(
        sequence=sequence,
        code=status_code(error).value[0],
        reason=error.reason,
        message=error.message,
        retry_delay_ms=delay_ms,
    )

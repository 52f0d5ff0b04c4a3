"""What aiokafka says, as errors that a caller understands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiokafka import errors as kafka

from runstream_common.errors import InvalidArgument, PlatformError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_AFTER_SECONDS = 1.0

SEQUENCE_LOST = (
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.InvalidProducerEpoch,
    kafka.ProducerFenced,
    kafka.InvalidProducerIdMapping,
)
"""After one of these an idempotent producer fails every later message too and has to be replaced."""


def producer_is_lost(error: Exception) -> bool:
    """Whether the producer has to be replaced.

    aiokafka raises a plain KafkaError for every message after its sending task has died.
    """
    return isinstance(error, SEQUENCE_LOST) or type(error) is kafka.KafkaError


def map_kafka_error(error: Exception) -> PlatformError | None:
    """The error to raise instead, None when it is our own fault.

    Returns:
        InvalidArgument for a message that is too large; Unavailable when the broker is away, slow, or has
        forgotten the producer's sequence.
    """
    if isinstance(error, (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError)):
        return InvalidArgument(message="the message is larger than the bus takes", reason="MESSAGE_TOO_LARGE")
    if isinstance(error, (TimeoutError, OSError, kafka.ProducerClosed)) or producer_is_lost(error):
        return away()
    if isinstance(error, kafka.KafkaError) and (
        error.retriable or isinstance(error, (kafka.KafkaConnectionError, kafka.UnknownTopicOrPartitionError))
    ):
        return away()
    return None


@contextmanager
def mapped_kafka_errors() -> Iterator[None]:
    """Raise errors of the broker and the socket from the block in our own terms; others pass unchanged."""
    try:
        yield
    except (kafka.KafkaError, OSError) as error:
        mapped = map_kafka_error(error)
        if mapped is None:
            raise
        raise mapped from error


def away() -> Unavailable:
    """The broker does not answer, or not in time."""
    return Unavailable("the bus is away", reason="BUS_UNAVAILABLE", retry_after_seconds=RETRY_AFTER_SECONDS)

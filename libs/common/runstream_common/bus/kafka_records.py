"""Between Kafka's records and our messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream.kafka.message import KafkaAckableMessage

from runstream_common.bus.messages import Message

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


def to_message(record: ConsumerRecord[Any, Any], topic: str) -> Message:
    """One record as a handler receives it.

    Producers in any language write to our topics, so bytes that are not UTF-8 are replaced instead of
    refused here: the handler can then reject the one message with a reason.

    Args:
        topic: the name without the deployment's prefix.
    """
    key = record.key
    return Message(
        topic=topic,
        key=key.decode(errors="replace") if key else "",
        value=record.value or b"",
        headers={name: value.decode(errors="replace") if value else "" for name, value in record.headers},
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
    )


async def pass_through_parser(records: tuple[ConsumerRecord[Any, Any], ...]) -> KafkaAckableMessage:
    """FastStream's parser for our batches: it hands the records on.

    FastStream's own one decodes every header strictly, which one foreign header that is not UTF-8 breaks for
    the whole batch, and its decoder tries JSON on every value.
    """
    return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=_NO_CONSUMER)


async def pass_through_decoder(message: KafkaAckableMessage) -> Any:
    """FastStream's decoder for our batches: the records themselves."""
    return message.raw_message


class _NoConsumer:
    """Stands where FastStream would ack by itself; our runner commits explicit offsets instead."""

    async def commit(self) -> None:
        raise AssertionError("batches are committed by the runner, with explicit offsets")

    def seek(self, partition: Any, offset: int) -> None:
        raise AssertionError(f"the runner never rewinds ({partition} to {offset})")


_NO_CONSUMER = _NoConsumer()

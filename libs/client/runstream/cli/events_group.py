"""`runstream events tail --group`: consume under a durable group, with a command for each event or without."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from runstream_common.bus.policy import RetryPolicy
from runstream_common.errors import InvalidArgument, PlatformError

from runstream.cli import output
from runstream.cli.events_shape import event_line, event_shape
from runstream.events.command import CommandResult, run_command
from runstream.events.consumer import GroupConsumer
from runstream.events.template import CommandTemplate, FieldMissingError, parse_command

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from runstream_proto.common.v1 import operations_service_pb2 as pb

FIELD_MISSING = "FIELD_MISSING"
MAX_RETRY_DELAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What the command line says.

    Attributes:
        command: run for each event; None only prints it.
        retries: how often a command that fails is tried again.
        retry_delay_seconds: wait before the first of them; it doubles up to a minute.
        timeout_seconds: longest time of one try; None for no limit.
        stop_on_failure: end instead of giving an event up.
        limit: end after so many events; None never ends.
    """

    url: str | None
    topic: str
    group: str
    from_beginning: bool
    service: str
    command: str | None
    retries: int
    retry_delay_seconds: float
    timeout_seconds: float | None
    stop_on_failure: bool
    limit: int | None
    json: bool


def consume(options: GroupOptions) -> None:
    """Consume until a signal, the limit or a failure that stops; the exit code tells which.

    Raises:
        InvalidArgument: the command names a field that the events do not have, or is not there.
        PlatformError: the service cannot be reached at the start, or refuses.
    """
    template = None if options.command is None else _checked(options.command, options.topic)
    code = asyncio.run(_GroupTail(options, template).run())
    if code:
        raise typer.Exit(code)


def _checked(command: str, topic: str) -> CommandTemplate:
    template = parse_command(command, topic)
    program = template.arguments[0]
    if "{" not in program and shutil.which(program) is None:
        raise InvalidArgument.of("--exec", f"there is no command {program!r}, or it may not be run")
    return template


class _Stop:
    """Signals: the first ends the loop when the command in hand has ended, the second ends the command too."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._asked = asyncio.Event()
        self._working: asyncio.Task[Any] | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    async def before(self, waiting: Awaitable[Any]) -> Any:
        """What is waited for; None when a signal comes first."""
        task, stop = asyncio.ensure_future(waiting), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for item in (task, stop):
                item.cancel()
            await asyncio.wait({task, stop})

    async def during(self, work: Awaitable[CommandResult]) -> CommandResult | None:
        """The result of a command; None when a second signal ended it."""
        working = asyncio.ensure_future(work)
        self._working = working
        try:
            return await working
        except asyncio.CancelledError:
            if not self.asked:
                raise
            return None
        finally:
            self._working = None

    def _on_signal(self, number: int) -> None:
        if self.asked and self._working is not None:
            self._working.cancel()
        elif not self.asked:
            # A supervisor's SIGTERM is the regular end; Ctrl-C is told as by any other program.
            self.exit_code = 128 + number if number == signal.SIGINT else 0
            if self._working is not None:
                output.hint("finishing the command in hand; once more ends it")
        self._asked.set()


class _GroupTail:
    def __init__(self, options: GroupOptions, template: CommandTemplate | None) -> None:
        self._options = options
        self._template = template
        self._retry = RetryPolicy(
            first_delay_seconds=options.retry_delay_seconds, max_delay_seconds=MAX_RETRY_DELAY_SECONDS
        )

    async def run(self) -> int:
        """The exit code."""
        options, stop = self._options, _Stop()
        consumer = GroupConsumer(
            options.url,
            topic=options.topic,
            group=options.group,
            from_beginning=options.from_beginning,
            service=options.service,
            on_lost=_tell_lost,
        )
        async with consumer:
            created = await stop.before(consumer.connect())
            if created:
                output.hint(
                    f"group {options.group} is new: from now on it misses no event of {options.topic}"
                )
            code = await self._consume(consumer, stop)
            if not code:
                await self._leave(consumer)
        return code or stop.exit_code

    async def _consume(self, consumer: GroupConsumer, stop: _Stop) -> int:
        count = 0
        while not stop.asked and count != self._options.limit:
            event = await stop.before(consumer.next())
            if event is None:
                break
            if self._template is None:
                # Printed first: what could not be printed comes again.
                self._print(event, {})
                await consumer.acknowledge()
            else:
                attempts, result, reason = await self._try(self._template, event, stop)
                if result is None and not reason:
                    break  # ended by a signal, before it succeeded: it comes again
                if reason and self._options.stop_on_failure:
                    output.hint(f"stopped at {event.position.partition}:{event.position.offset}: {reason}")
                    return output.EXIT_PROBLEM
                await self._settle(consumer, event, attempts, result, reason)
            count += 1
        return 0

    async def _try(
        self, template: CommandTemplate, event: pb.TailEventsResponse, stop: _Stop
    ) -> tuple[int, CommandResult | None, str]:
        """How often it was tried, how the last try ended, and why the event is given up (empty if it is not)."""
        try:
            arguments = template.fill(_fields(event))
        except FieldMissingError as error:
            return 1, None, f"{FIELD_MISSING}: {error}"
        payload = event.json.encode() if event.json else event.value
        for attempt in range(1, self._options.retries + 2):
            running = run_command(arguments, payload, timeout_seconds=self._options.timeout_seconds)
            result = await stop.during(running)
            if result is None or result.ok:
                return attempt, result, ""
            if attempt > self._options.retries:
                return attempt, result, f"{result.reason}: {_failure(arguments, result)}"
            output.hint(f"attempt {attempt} of {self._options.retries + 1} failed: {result.text}")
            await stop.before(asyncio.sleep(self._retry.delay_seconds(attempt)))
            if stop.asked:
                break
        return 0, None, ""

    async def _settle(
        self,
        consumer: GroupConsumer,
        event: pb.TailEventsResponse,
        attempts: int,
        result: CommandResult | None,
        reason: str,
    ) -> None:
        outcome: dict[str, Any] = {"outcome": "dead-letter" if reason else "done", "attempts": attempts}
        if reason:
            constant, _, detail = reason.partition(": ")
            await consumer.reject(constant, detail, attempts)
            outcome["reason"] = constant
            outcome["exit_status"] = result.exit_status if result else None
        else:
            await consumer.acknowledge()
        self._print(event, outcome)

    def _print(self, event: pb.TailEventsResponse, outcome: dict[str, Any]) -> None:
        if self._options.json:
            output.print_json_line({**event_shape(event), **outcome})
            return
        words = [str(outcome[name]) for name in ("outcome", "reason") if name in outcome]
        typer.echo(" ".join([event_line(event), *(["→", *words] if words else [])]))

    async def _leave(self, consumer: GroupConsumer) -> None:
        try:
            await consumer.leave()
        except PlatformError as error:
            output.hint(error.message)


def _fields(event: pb.TailEventsResponse) -> dict[str, Any] | None:
    document = json.loads(event.json) if event.json else None
    return document if isinstance(document, dict) else None


def _failure(arguments: list[str], result: CommandResult) -> str:
    said = f"; it said: {result.output}" if result.output else ""
    return f"{arguments[0]}: {result.text}{said}"


def _tell_lost(error: PlatformError) -> None:
    output.hint(f"the service is away, waiting for it: {error.message}")

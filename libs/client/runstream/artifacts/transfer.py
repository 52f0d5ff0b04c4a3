"""What everything that works for one upload or download shares."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from runstream.artifacts.cancelling import Cancellation
from runstream.artifacts.progress import Meter
from runstream.artifacts.workers import Workers

if TYPE_CHECKING:
    from runstream.artifacts.calls import ArtifactCalls
    from runstream.artifacts.progress import Progress
    from runstream.artifacts.settings import TransferSettings
    from runstream.artifacts.transport import Transport

BATCHES_AT_ONCE = 2
"""While one batch is sent, the next one is hashed and announced."""
MAX_BATCH_FILES = 1000
MAX_BATCH_BYTES = 512 * 1024 * 1024


class Transfer:
    """One upload or download with its threads. A context manager that ends them.

    Args:
        calls: of the client.
        transport: of the client.
        settings: threads and patience.
        label: for the progress bar.
        progress: see `progress.Progress`.

    Attributes:
        calls: they end when the transfer is cancelled, and wait for a service that is away.
        closing_calls: they do neither; for cleaning up.
    """

    def __init__(
        self,
        calls: ArtifactCalls,
        transport: Transport,
        settings: TransferSettings,
        label: str,
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.cancellation = Cancellation()
        self.closing_calls = calls
        self.calls = calls.patient(settings.transfer_retry_seconds, self.cancellation)
        self.meter = Meter(label, progress)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.meter)
        # Batches wait for the others, so each kind of work has threads of its own.
        self.senders = self._workers(self.settings.transfer_threads, "transfer")
        self.hashers = self._workers(min(4, os.cpu_count() or 1), "hash")
        self.batches = self._workers(BATCHES_AT_ONCE, "batch")
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self.cancellation.set()
        self._stack.close()

    def _workers(self, threads: int, name: str) -> Workers:
        return self._stack.enter_context(Workers(threads, f"runstream-{name}", self.cancellation))

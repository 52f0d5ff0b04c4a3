"""Puts the parts of the service together that promotions need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.api.promotion_service import PromotionService, PromotionUseCases
from runstream_registry.audit import Audit
from runstream_registry.jobs.expire_requests import run_expire_requests
from runstream_registry.promotion.gates.gathering import EvidenceSource
from runstream_registry.promotion.policies import Policies, PolicyReader
from runstream_registry.promotion.promotions import Promotions
from runstream_registry.promotion.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.rpc.server import Registration
    from runstream_common.supervision import Supervisor

    from runstream_registry.promotion.gates.gathering import FileChecker, RunReader


class PromotionParts:
    """The parts around promotions.

    Args:
        runs: knows metrics and tags of runs.
        files: compares files with the object store.
        wake: tells the outbox relay of a commit.
        max_message_bytes: largest answer.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        runs: RunReader,
        files: FileChecker,
        wake: Callable[[], None],
        *,
        max_message_bytes: int,
    ) -> None:
        self._max_message_bytes = max_message_bytes
        reader = PolicyReader()
        self.promotions = Promotions(database, clock, reader, EvidenceSource(runs, files), wake)
        self.policies = Policies(database, clock, reader)
        self.requests = Requests(database, clock, reader, self.promotions, wake)
        self.audit = Audit(database)

    def registration(self) -> Registration:
        """What the server registers."""
        use_cases = PromotionUseCases(self.promotions, self.policies, self.requests, self.audit)
        return PromotionService(use_cases, max_message_bytes=self._max_message_bytes).registration()

    def spawn(self, tasks: Supervisor, expiry_interval_seconds: float) -> None:
        """Begin to look after requests for approval."""
        tasks.spawn("request expiry", run_expire_requests(self.requests, expiry_interval_seconds))

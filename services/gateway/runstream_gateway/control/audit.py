"""The audit trail of the registry: read, and its hash chains recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream_gateway.control.messages import answer_of, value_of
from runstream_gateway.control.values import Count, NextPageToken, TimeMs, VersionOrNone

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change, as it was recorded with the change."""

    chain: Annotated[str, Meta(description="`model/<id>`, `policies` or `webhooks`")]
    sequence: Annotated[int, Meta(ge=1, description="1, 2, 3… within the chain, without gaps")]
    time_ms: TimeMs
    actor: str
    action: Annotated[str, Meta(description="What, as a constant, such as `version.created`")]
    subject: Annotated[str, Meta(description="Name of the model, policy or webhook at that time")]
    version: VersionOrNone
    reason: str
    before_json: Annotated[str, Meta(description="State before as JSON text; empty when there was none")]
    after_json: Annotated[str, Meta(description="State after as JSON text; empty when there is none")]
    hash: Annotated[str, Meta(description="SHA-256 over the entry before and this one, hexadecimal")]


class AuditPage(Struct, frozen=True):
    """Entries, newest first."""

    entries: list[AuditEntry]
    next_page_token: NextPageToken


class AuditProblem(Struct, frozen=True):
    """Something that does not add up: the first entry of a chain that is wrong or missing."""

    chain: str
    sequence: int
    message: str


class AuditReport(Struct, frozen=True):
    """What recomputing the chains found."""

    chain_count: Count
    entry_count: Count
    problems: Annotated[
        list[AuditProblem], Meta(description="At most one a chain; none means that all is well")
    ]
    heads_digest: Annotated[
        str, Meta(description="SHA-256 over the heads of all chains, to be kept elsewhere and compared later")
    ]


class Audit:
    """Calls about the audit trail."""

    def __init__(self, backends: Backends) -> None:
        self._promotions = backends.promotions
        self._timeout = backends.timeout_seconds

    async def page(
        self, model: str = "", chain: str = "", *, page_size: int = 100, page_token: str = ""
    ) -> AuditPage:
        """One page: of a model by its present or last name, of a chain, or of all."""
        request = pb.ListAuditEntriesRequest(
            name=model, chain=chain, page_size=page_size, page_token=page_token
        )
        answer = await answer_of(self._promotions.ListAuditEntries(request, timeout=self._timeout))
        return AuditPage([value_of(entry, AuditEntry) for entry in answer.entries], answer.next_page_token)

    async def verify(self, chain: str = "") -> AuditReport:
        """Recompute the hash chains: one, or all."""
        call = self._promotions.VerifyAudit(pb.VerifyAuditRequest(chain=chain), timeout=self._timeout)
        return value_of(await answer_of(call), AuditReport)

"""The audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta, Struct

from runstream_gateway.control.audit import Audit, AuditPage, AuditReport
from runstream_gateway.control_api.operations import Call, Operation
from runstream_gateway.control_api.parameters import PageQuery

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends
    from runstream_gateway.control.values import Nothing

Chain: TypeAlias = Annotated[
    str, Meta(max_length=250, description="`model/<id>`, `policies` or `webhooks`; empty means all")
]


class AuditQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which model or chain."""

    model: Annotated[
        str, Meta(max_length=256, description="By its present or last name; empty means all")
    ] = ""
    chain: Chain = ""


class ChainQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which chain."""

    chain: Chain = ""


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    audit = Audit(backends)

    async def page(call: Call[Nothing, AuditQuery, Nothing]) -> AuditPage:
        query = call.query
        return await audit.page(
            query.model, query.chain, page_size=query.page_size, page_token=query.page_token
        )

    async def verify(call: Call[Nothing, ChainQuery, Nothing]) -> AuditReport:
        return await audit.verify(call.query.chain)

    return [
        Operation(
            method="GET",
            path="/audit/entries",
            run=page,
            summary="Entries of the audit trail, newest first",
            tag="audit",
            name="listAuditEntries",
            query=AuditQuery,
            answer=AuditPage,
        ),
        Operation(
            method="GET",
            path="/audit/verification",
            run=verify,
            summary="Recompute the hash chains of the audit trail",
            tag="audit",
            name="verifyAudit",
            query=ChainQuery,
            answer=AuditReport,
        ),
    ]

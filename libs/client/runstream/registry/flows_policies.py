"""Flows over the policies that gate promotions, and over the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict, ParseError
from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream.query.client_calls import Flow, Page, ready
from runstream.registry.calls import PROMOTIONS, ask, nothing
from runstream.registry.translation_promotions import (
    audit_entry_of,
    audit_report_of,
    policy_of,
    target_to_proto,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.registry.results_promotions import AuditEntry, AuditReport, Policy


def put_policy(
    name: str, document: Mapping[str, Any], *, expected_revision: int | None, reason: str
) -> Flow[Policy]:
    """Store a policy as a new revision."""
    request = pb.PutPolicyRequest(
        name=name, document=document_of(document), expected_revision=expected_revision, reason=reason
    )
    return ask(PROMOTIONS, "PutPolicy", request, lambda a: policy_of(a.policy))


def document_of(document: Mapping[str, Any]) -> pb.PolicyDocument:
    """A policy's document as a request takes it.

    Raises:
        InvalidArgument: a field is unknown or has the wrong type.
    """
    try:
        return ParseDict(dict(document), pb.PolicyDocument())
    except (ParseError, TypeError, AttributeError) as error:
        # The parser raises the last two where it finds a text or number instead of an object.
        raise InvalidArgument.of("document", str(error)) from error


def get_policy(name: str, revision: int) -> Flow[Policy]:
    """Read a policy."""
    request = pb.GetPolicyRequest(name=name, revision=revision)
    return ask(PROMOTIONS, "GetPolicy", request, lambda a: policy_of(a.policy))


def list_policies(model: str, alias: str, stage: str) -> Flow[tuple[Policy, ...]]:
    """Read the policies in force, or those that apply to a model and target."""
    target = target_to_proto(alias, stage) if alias or stage else None
    request = pb.ListPoliciesRequest(model=model, target=target)
    return ask(PROMOTIONS, "ListPolicies", request, lambda a: tuple(map(policy_of, a.policies)))


def delete_policy(name: str, reason: str) -> Flow[None]:
    """Take a policy out of force."""
    request = pb.DeletePolicyRequest(name=name, reason=reason)
    return ask(PROMOTIONS, "DeletePolicy", request, nothing)


# The audit trail


def list_audit_request(name: str, chain: str, page_size: int) -> Flow[pb.ListAuditEntriesRequest]:
    """The first page's request."""
    return ready(pb.ListAuditEntriesRequest(name=name, chain=chain, page_size=page_size))


def audit_page(request: pb.ListAuditEntriesRequest) -> Flow[Page[AuditEntry]]:
    """One page of the audit trail; its token goes into the request for the next."""
    return ask(
        PROMOTIONS,
        "ListAuditEntries",
        request,
        lambda a: Page(tuple(audit_entry_of(item) for item in a.entries), a.next_page_token),
    )


def verify_audit(chain: str) -> Flow[AuditReport]:
    """Recompute the hash chains."""
    return ask(PROMOTIONS, "VerifyAudit", pb.VerifyAuditRequest(chain=chain), audit_report_of)

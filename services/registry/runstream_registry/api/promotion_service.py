"""gRPC handlers of PromotionService: translate, call, translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.answers import check_answer_size
from runstream_common.rpc.server import Registration
from runstream_common.search.keyset import PRESENT, KeyAt, KeyShape
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest
from runstream_common.search.pages import checked_page_size
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1 import promotion_service_pb2_grpc as pb_grpc

from runstream_registry import rules
from runstream_registry.api import promotion_mapping as mapping
from runstream_registry.api.actor import actor_of
from runstream_registry.api.time_pages import decode_time_token, encode_time_token

if TYPE_CHECKING:
    import grpc

    from runstream_registry.audit import Audit
    from runstream_registry.promotion.policies import Policies
    from runstream_registry.promotion.promotions import Promotions
    from runstream_registry.promotion.requests import Requests

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000
_SEQUENCE: Final = (KeyShape(int),)
_AUDIT: Final = (KeyShape(int), KeyShape(str), KeyShape(int))


@dataclass(frozen=True, slots=True)
class PromotionUseCases:
    """What the handlers call."""

    promotions: Promotions
    policies: Policies
    requests: Requests
    audit: Audit


class PromotionService(pb_grpc.PromotionServiceServicer):
    """Promotions, policies, approvals and the audit trail over gRPC.

    Args:
        use_cases: what the handlers call.
        max_message_bytes: largest answer.
    """

    def __init__(self, use_cases: PromotionUseCases, *, max_message_bytes: int) -> None:
        self._use = use_cases
        self._max_message_bytes = max_message_bytes

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["PromotionService"].full_name,
            pb_grpc.add_PromotionServiceServicer_to_server,
            self,
        )

    async def Promote(self, request: pb.PromoteRequest, context: Context) -> pb.PromoteResponse:
        """Promote, or explain."""
        result = await self._use.promotions.promote(mapping.promote_order(request, actor_of(context)))
        promotion = result.promotion
        return pb.PromoteResponse(
            promotion=None if promotion is None else mapping.promotion_message(promotion),
            rules=mapping.rule_messages(result.rules),
            allowed=result.allowed,
            previous_version=result.previous_version,
        )

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        """Promote what was there before."""
        result = await self._use.promotions.promote(mapping.rollback_order(request, actor_of(context)))
        promotion = result.promotion
        return pb.RollbackResponse(
            promotion=None if promotion is None else mapping.promotion_message(promotion),
            rules=mapping.rule_messages(result.rules),
            allowed=result.allowed,
            version=result.version,
            previous_version=result.previous_version,
        )

    async def ListPromotions(
        self, request: pb.ListPromotionsRequest, context: Context
    ) -> pb.ListPromotionsResponse:
        """One page, newest first."""
        name, target = rules.required_name(request.name), mapping.target_or_none(request.target)
        size = _page_size(request.page_size)
        scope = search_digest("promotions", name, target.path if target else "")
        position = decode_token(request.page_token, scope, _SEQUENCE)
        before = None if position is None else position[0].value
        found = await self._use.promotions.page(name, target, before=before, limit=size + 1)
        token = ""
        if len(found) > size:
            token = encode_token(scope, (KeyAt(PRESENT, found[size - 1].sequence),))
        answer = pb.ListPromotionsResponse(
            promotions=[mapping.promotion_message(item) for item in found[:size]], next_page_token=token
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def PutPolicy(self, request: pb.PutPolicyRequest, context: Context) -> pb.PutPolicyResponse:
        """Store a revision."""
        if not request.HasField("document"):
            raise InvalidArgument.of("document", "is required")
        policy = await self._use.policies.put(
            request.name,
            mapping.document_fields(request.document),
            actor=actor_of(context),
            expected_revision=request.expected_revision if request.HasField("expected_revision") else None,
            reason=mapping.reason(request.reason),
        )
        return pb.PutPolicyResponse(policy=mapping.policy_message(policy))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        """Read a revision."""
        if request.revision < 0:
            raise InvalidArgument.of("revision", "must be 1 or more, or 0 for the newest")
        policy = await self._use.policies.get(rules.required_name(request.name), request.revision)
        return pb.GetPolicyResponse(policy=mapping.policy_message(policy))

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        """Read those in force."""
        target = mapping.target_or_none(request.target)
        if target is not None and not request.model:
            raise InvalidArgument.of("model", "is required with a target")
        model = rules.required_name(request.model, "model") if request.model else ""
        policies = await self._use.policies.find(model, target)
        return pb.ListPoliciesResponse(policies=[mapping.policy_message(policy) for policy in policies])

    async def DeletePolicy(
        self, request: pb.DeletePolicyRequest, context: Context
    ) -> pb.DeletePolicyResponse:
        """Take out of force."""
        name, reason = rules.required_name(request.name), mapping.reason(request.reason)
        await self._use.policies.delete(name, actor=actor_of(context), reason=reason)
        return pb.DeletePolicyResponse()

    async def RequestPromotion(
        self, request: pb.RequestPromotionRequest, context: Context
    ) -> pb.RequestPromotionResponse:
        """Ask for approval."""
        created = await self._use.requests.create(mapping.request_order(request, actor_of(context)))
        return pb.RequestPromotionResponse(request=mapping.request_message(created))

    async def DecideRequest(
        self, request: pb.DecideRequestRequest, context: Context
    ) -> pb.DecideRequestResponse:
        """Approve or reject."""
        decided, promotion = await self._use.requests.decide(
            rules.uuid_text(request.request_id, "request_id"),
            actor=actor_of(context),
            approve=request.approve,
            role=mapping.role(request.role),
            comment=mapping.reason(request.comment, "comment"),
        )
        return pb.DecideRequestResponse(
            request=mapping.request_message(decided),
            promotion=None if promotion is None else mapping.promotion_message(promotion),
        )

    async def GetRequest(self, request: pb.GetRequestRequest, context: Context) -> pb.GetRequestResponse:
        """Read one."""
        found = await self._use.requests.get(rules.uuid_text(request.request_id, "request_id"))
        return pb.GetRequestResponse(request=mapping.request_message(found))

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: Context
    ) -> pb.ListRequestsResponse:
        """One page, newest first."""
        name = rules.required_name(request.name) if request.name else ""
        state, size = mapping.request_state(request.state), _page_size(request.page_size)
        scope = ("requests", name, int(state or 0))
        before = decode_time_token(request.page_token, *scope)
        found = await self._use.requests.page(name, state, before=before, limit=size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = encode_time_token((page[-1].creation_time_ms, page[-1].request_id), *scope)
        answer = pb.ListRequestsResponse(
            requests=[mapping.request_message(item) for item in page], next_page_token=token
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        """One page, newest first."""
        name = rules.required_name(request.name) if request.name else ""
        chain, size = _chain(request.chain), _page_size(request.page_size)
        scope = search_digest("audit", name, chain)
        position = decode_token(request.page_token, scope, _AUDIT)
        before = None if position is None else tuple(key.value for key in position)
        found = await self._use.audit.page(name, chain, before=before, limit=size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1].row
            place = (last.time_ms, last.chain, last.sequence)
            token = encode_token(scope, tuple(KeyAt(PRESENT, value) for value in place))
        answer = pb.ListAuditEntriesResponse(
            entries=[mapping.audit_entry_message(entry) for entry in found[:size]], next_page_token=token
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        """Recompute."""
        return mapping.audit_report_message(await self._use.audit.verify(_chain(request.chain)))


def _page_size(page_size: int) -> int:
    return checked_page_size(page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)


def _chain(chain: str) -> str:
    return rules.required_name(chain, "chain") if chain else ""

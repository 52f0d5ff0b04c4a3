"""Promotion policies and their revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from runstream_common.errors import InvalidArgument

from runstream_gateway.control.policies import (
    DEFAULT_HISTORY,
    Policies,
    Policy,
    PolicyDocument,
    PolicyHistory,
    PolicyList,
    PolicyName,
)
from runstream_gateway.control.promotions import or_none
from runstream_gateway.control.values import MAX_INT32, ModelName, Nothing, PageToken, Reason
from runstream_gateway.control_api.operations import Call, Operation
from runstream_gateway.control_api.parameters import TargetQuery

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class PolicyAt(Struct, frozen=True):
    """A policy."""

    policy: PolicyName


class PoliciesQuery(TargetQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Only policies that apply to a model, and to a target of it."""

    model: ModelName | UnsetType = UNSET


class RevisionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which revision."""

    revision: Annotated[int, Meta(ge=0, le=MAX_INT32, description="0 means the newest")] = 0


class HistoryQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A page of revisions."""

    page_size: Annotated[int, Meta(ge=1, le=100)] = DEFAULT_HISTORY
    page_token: PageToken = ""


class ReasonQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason = ""


class NewPolicy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a policy is to say."""

    document: PolicyDocument
    expected_revision: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_INT32)] | UnsetType,
        Meta(
            description="Revision that is in force now, 0 for none; another one is a conflict. Left out means any"
        ),
    ] = UNSET
    reason: Reason = ""


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    policies = Policies(backends)

    async def in_force(call: Call[Nothing, PoliciesQuery, Nothing]) -> PolicyList:
        target = call.query.target()
        if target is not None and call.query.model is UNSET:
            raise InvalidArgument.of("model", "is required with a target")
        return await policies.list(or_none(call.query.model) or "", target)

    async def get(call: Call[PolicyAt, RevisionQuery, Nothing]) -> Policy:
        return await policies.get(call.at.policy, call.query.revision)

    async def history(call: Call[PolicyAt, HistoryQuery, Nothing]) -> PolicyHistory:
        query = call.query
        return await policies.history(call.at.policy, page_size=query.page_size, page_token=query.page_token)

    async def put(call: Call[PolicyAt, Nothing, NewPolicy]) -> Policy:
        return await policies.put(
            call.at.policy,
            call.body.document,
            expected_revision=or_none(call.body.expected_revision),
            reason=call.body.reason,
            actor=call.actor,
        )

    async def delete(call: Call[PolicyAt, ReasonQuery, Nothing]) -> None:
        await policies.delete(call.at.policy, reason=call.query.reason, actor=call.actor)

    tag = "policies"
    return [
        Operation(
            method="GET",
            path="/policies",
            run=in_force,
            summary="Policies in force, or those that apply to a model and target",
            tag=tag,
            name="listPolicies",
            query=PoliciesQuery,
            answer=PolicyList,
        ),
        Operation(
            method="GET",
            path="/policies/{policy}",
            run=get,
            summary="A policy, also one that is no longer in force",
            tag=tag,
            name="getPolicy",
            at=PolicyAt,
            query=RevisionQuery,
            answer=Policy,
        ),
        Operation(
            method="GET",
            path="/policies/{policy}/revisions",
            run=history,
            summary="Revisions of a policy, newest first",
            tag=tag,
            name="listPolicyRevisions",
            at=PolicyAt,
            query=HistoryQuery,
            answer=PolicyHistory,
        ),
        Operation(
            method="PUT",
            path="/policies/{policy}",
            run=put,
            summary="Store a policy as its next revision; the same document again changes nothing",
            tag=tag,
            name="putPolicy",
            at=PolicyAt,
            body=NewPolicy,
            answer=Policy,
        ),
        Operation(
            method="DELETE",
            path="/policies/{policy}",
            run=delete,
            summary="Take a policy out of force; its revisions stay readable",
            tag=tag,
            name="deletePolicy",
            at=PolicyAt,
            query=ReasonQuery,
            status=204,
        ),
    ]

"""Promotion policies: what must be met before a version is promoted, in numbered revisions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType
from runstream_common.errors import InvalidArgument, NotFound
from runstream_proto.registry.v1 import promotion_service_pb2 as pb

from runstream_gateway.actors import metadata_of
from runstream_gateway.control.messages import answer_of, message_of, target_message, value_of
from runstream_gateway.control.values import MAX_INT32, Count, NextPageToken, Target, TimeMs

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends

DEFAULT_HISTORY: Final = 20

PolicyName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=250, description="Name of a policy")
]
Text: TypeAlias = Annotated[str, Meta(max_length=8_000)]
Hours: TypeAlias = Annotated[int, Meta(ge=0, le=24 * 366)]


class MetricRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on a metric of the source run."""

    condition: Annotated[
        Text,
        Meta(
            description="Such as `accuracy >= 0.9` or `loss < current * 1.05`", examples=["accuracy >= 0.9"]
        ),
    ]


class TagRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tag that the version must have; an empty value means any."""

    key: Text
    value: Text = ""


class SignatureRule(Struct, frozen=True, forbid_unknown_fields=True):
    """The version must have a signature."""


class ArtifactRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Files that the version must have; without paths at least one."""

    paths: list[Text] = []
    verify_checksums: bool = False


class EvaluationRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An evaluation that must have passed, not longer ago than so many hours; 0 means any time."""

    evaluation: Text
    max_age_hours: Annotated[int, Meta(ge=0, le=MAX_INT32)] = 0


class ApprovalRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many different people must have approved, and in which of the policy's roles; none means any of them."""

    count: Annotated[int, Meta(ge=1, le=MAX_INT32)]
    roles: list[Text] = []
    allow_requester: bool = False


class FreezeRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A time in which nothing is promoted: once (RFC 3339) or every week (`Fri 16:00` to `Mon 08:00`)."""

    start: Text = ""
    end: Text = ""
    weekly_start: Text = ""
    weekly_end: Text = ""
    time_zone: Annotated[
        Text, Meta(description="Of the weekly window, such as `Europe/Berlin`; empty means UTC")
    ] = ""
    reason: Text = ""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: exactly one field is set."""

    metric: MetricRule | UnsetType = UNSET
    tag: TagRule | UnsetType = UNSET
    signature: SignatureRule | UnsetType = UNSET
    artifacts: ArtifactRule | UnsetType = UNSET
    evaluation: EvaluationRule | UnsetType = UNSET
    approvals: ApprovalRule | UnsetType = UNSET
    freeze: FreezeRule | UnsetType = UNSET


class Role(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """People who hold a role; without members it can approve nothing."""

    name: Text
    members: list[Text] = []


class PolicyDocument(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a policy says."""

    models: Annotated[Text, Meta(description='Glob over model names; "*" means all', examples=["fraud-*"])]
    targets: Annotated[
        Text, Meta(description='Glob over targets, such as `alias/champion` or `stage/*`; "*" means all')
    ]
    rules: Annotated[list[Rule], Meta(min_length=1, max_length=100, description="All must be met")]
    roles: Annotated[list[Role], Meta(max_length=100, description="Roles that rules name")] = []
    request_hours: Annotated[
        Hours, Meta(description="How long a request for approval stays open; 0 means 168 hours")
    ] = 0
    description: Text = ""


class Policy(Struct, frozen=True):
    """A policy in one of its revisions."""

    name: PolicyName
    revision: Count
    document: PolicyDocument
    actor: str
    time_ms: TimeMs
    deleted: Annotated[bool, Meta(description="Whether it was taken out of force with this revision")]


class PolicyList(Struct, frozen=True):
    """Policies in force, by name."""

    policies: list[Policy]


class PolicyHistory(Struct, frozen=True):
    """Revisions of a policy, newest first."""

    revisions: list[Policy]
    next_page_token: NextPageToken


class Policies:
    """Calls about policies."""

    def __init__(self, backends: Backends) -> None:
        self._promotions = backends.promotions
        self._timeout = backends.timeout_seconds

    async def list(self, model: str = "", target: Target | None = None) -> PolicyList:
        """The policies in force, or those that apply to a model and target."""
        request = pb.ListPoliciesRequest(
            model=model, target=None if target is None else target_message(target)
        )
        answer = await answer_of(self._promotions.ListPolicies(request, timeout=self._timeout))
        return PolicyList([_policy(policy) for policy in answer.policies])

    async def get(self, name: str, revision: int = 0) -> Policy:
        """A revision, the newest when it is 0; also of a policy that is no longer in force."""
        request = pb.GetPolicyRequest(name=name, revision=revision)
        answer = await answer_of(self._promotions.GetPolicy(request, timeout=self._timeout))
        return _policy(answer.policy)

    async def history(
        self, name: str, *, page_size: int = DEFAULT_HISTORY, page_token: str = ""
    ) -> PolicyHistory:
        """Revisions, newest first. The token is the newest revision of the next page."""
        first = _revision_of(page_token) if page_token else (await self.get(name)).revision
        last = max(1, first - page_size + 1)
        try:
            revisions = await asyncio.gather(
                *(self.get(name, number) for number in range(first, last - 1, -1))
            )
        except NotFound as error:
            if page_token and error.reason == "POLICY_NOT_FOUND":
                raise InvalidArgument.of("page_token", "is not a token of this list") from error
            raise
        return PolicyHistory(revisions, str(last - 1) if last > 1 else "")

    async def put(
        self,
        name: str,
        document: PolicyDocument,
        *,
        expected_revision: int | None,
        reason: str,
        actor: str,
    ) -> Policy:
        """Store a document as the next revision; the same document again changes nothing."""
        request = pb.PutPolicyRequest(
            name=name,
            document=message_of(document, pb.PolicyDocument(), "document"),
            expected_revision=expected_revision,
            reason=reason,
        )
        call = self._promotions.PutPolicy(request, timeout=self._timeout, metadata=metadata_of(actor))
        return _policy((await answer_of(call)).policy)

    async def delete(self, name: str, *, reason: str, actor: str) -> None:
        """Take a policy out of force; its revisions stay readable."""
        request = pb.DeletePolicyRequest(name=name, reason=reason)
        await answer_of(
            self._promotions.DeletePolicy(request, timeout=self._timeout, metadata=metadata_of(actor))
        )


def _policy(message: pb.Policy) -> Policy:
    return value_of(message, Policy)


def _revision_of(page_token: str) -> int:
    if not page_token.isascii() or not page_token.isdecimal() or not 1 <= int(page_token[:11]) <= MAX_INT32:
        raise InvalidArgument.of("page_token", "is not a token of this list")
    return int(page_token)

"""Policies as the gates use them: checked, with conditions and windows read."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_registry.policy.conditions import MetricCondition
    from runstream_registry.policy.windows import Window

DEFAULT_REQUEST_HOURS = 168


@dataclass(frozen=True, slots=True)
class MetricRule:
    """A condition on a metric of the source run."""

    condition: MetricCondition


@dataclass(frozen=True, slots=True)
class TagRule:
    """A tag that the version must have; an empty value means any."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """The version must have a signature."""


@dataclass(frozen=True, slots=True)
class ArtifactRule:
    """Files that the version must have; no paths mean at least one file."""

    paths: tuple[str, ...]
    verify_checksums: bool


@dataclass(frozen=True, slots=True)
class EvaluationRule:
    """An evaluation that must have passed; an age of 0 hours means any."""

    evaluation: str
    max_age_hours: int


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """People who must have approved; no roles mean any role of the policy."""

    count: int
    roles: tuple[str, ...]
    allow_requester: bool


@dataclass(frozen=True, slots=True)
class FreezeRule:
    """A time in which nothing is promoted."""

    window: Window
    reason: str


Rule: TypeAlias = (
    MetricRule | TagRule | SignatureRule | ArtifactRule | EvaluationRule | ApprovalRule | FreezeRule
)


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """What a policy says.

    Args:
        models: glob over model names.
        targets: glob over targets, see ``Target.path``.
        roles: name to members.
        request_hours: how long a request for approval stays open.
    """

    models: str
    targets: str
    rules: tuple[Rule, ...]
    roles: Mapping[str, frozenset[str]]
    request_hours: int

    def applies_to(self, model: str, target_path: str) -> bool:
        """Whether both globs match; upper and lower case differ."""
        return self.applies_to_model(model) and fnmatchcase(target_path, self.targets)

    def applies_to_model(self, model: str) -> bool:
        """Whether the glob over model names matches."""
        return fnmatchcase(model, self.models)

    def roles_of(self, actor: str, among: Sequence[str]) -> list[str]:
        """The roles that the actor has, in the order of their names.

        Args:
            among: only these; empty means all of the policy.
        """
        return sorted(name for name in among or self.roles if actor in self.roles.get(name, ()))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in one of its revisions.

    Args:
        fields: the document as it was stored, under the field names of the .proto.
        document: the same, read.
    """

    name: str
    revision: int
    fields: Mapping[str, Any]
    document: PolicyDocument
    actor: str
    time_ms: int
    deleted: bool

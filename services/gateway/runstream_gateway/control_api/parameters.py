"""Parameters of paths and queries that several operations share."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType
from runstream_common.errors import InvalidArgument

from runstream_gateway.control.values import (
    Alias,
    ModelName,
    PageSize,
    PageToken,
    Stage,
    Target,
    Version,
)


class ModelAt(Struct, frozen=True):
    """A model."""

    model: ModelName


class VersionAt(Struct, frozen=True):
    """A version of a model."""

    model: ModelName
    version: Version


class PageQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A page of a list."""

    page_size: PageSize = 100
    page_token: PageToken = ""


class TargetQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At most one of an alias and a stage."""

    alias: Alias | UnsetType = UNSET
    stage: Stage | UnsetType = UNSET

    def target(self) -> Target | None:
        """The target; None when neither is given.

        Raises:
            InvalidArgument: both are.
        """
        if self.alias is not UNSET and self.stage is not UNSET:
            raise InvalidArgument.of("stage", "cannot be given together with alias")
        if self.alias is UNSET and self.stage is UNSET:
            return None
        return Target(alias=self.alias, stage=self.stage)

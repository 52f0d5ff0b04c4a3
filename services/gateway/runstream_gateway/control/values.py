"""Kinds of values that requests and answers are made of, with their bounds; they are in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

MAX_INT32: Final = 2**31 - 1
MAX_NAME_LENGTH: Final = 256
MAX_REASON_LENGTH: Final = 8_000

ModelName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, description="Name of a registered model or prompt")
]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INT32, description="Number of a version")]
VersionOrNone: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT32, description="Version; 0 for none")]
Reason: TypeAlias = Annotated[str, Meta(max_length=MAX_REASON_LENGTH, description="Why, for the audit trail")]
TimeMs: TypeAlias = Annotated[int, Meta(description="Milliseconds since the Unix epoch (UTC)")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
PageSize: TypeAlias = Annotated[int, Meta(ge=1, le=1_000, description="Most items of the answer")]
PageToken: TypeAlias = Annotated[
    str,
    Meta(max_length=4_096, description="`next_page_token` of the previous answer; empty for the first page"),
]
NextPageToken: TypeAlias = Annotated[str, Meta(description="Empty on the last page")]
TopicName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]+$",
        min_length=1,
        max_length=200,
        description="Topic without the deployment's prefix",
    ),
]
GroupName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=100, description="Consumer group")
]
Alias: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, description="Alias, such as `champion`")]
Stage: TypeAlias = Annotated[
    Literal["None", "Staging", "Production", "Archived"], Meta(description="MLflow's stage")
]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No fields at all."""


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a version is promoted to: exactly one of the two."""

    alias: Alias | UnsetType = UNSET
    stage: Stage | UnsetType = UNSET

    @property
    def path(self) -> str:
        """As policies name it, such as "alias/champion" or "stage/Production"."""
        return f"alias/{self.alias}" if self.alias is not UNSET else f"stage/{self.stage}"

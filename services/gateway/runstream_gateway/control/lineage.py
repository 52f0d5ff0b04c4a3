"""Where a model version came from and where it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from runstream_proto.registry.v1 import model_service_pb2 as pb

from runstream_gateway.control.messages import answer_of, value_of
from runstream_gateway.control.values import TimeMs, Version, VersionOrNone

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class LineageDataset(Struct, frozen=True):
    """A dataset that the run read."""

    name: str
    digest: str
    source_type: str
    source: str
    context: Annotated[str, Meta(description="What it was used for, such as `training`; may be empty")]


class LineageRun(Struct, frozen=True):
    """The run that made a version."""

    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    git_commit: str
    git_repository: str
    source_name: str
    datasets: list[LineageDataset]
    lifecycle_stage: Annotated[str, Meta(description="`active`, `deleted` or `unknown`")]


class ParentVersion(Struct, frozen=True):
    """A version that another one was made from."""

    name: str
    version: VersionOrNone
    relation: Annotated[str, Meta(description="How, such as `fine-tuned`; may be empty")]


class LineageVersion(Struct, frozen=True):
    """A version in the lineage of another one."""

    name: str
    version: Version
    generation: Annotated[int, Meta(ge=1, description="Distance in generations")]
    run_id: str
    deleted: bool
    link: Annotated[
        ParentVersion | None, Meta(description="The next version on the way to the asked one")
    ] = None


class LineagePromotion(Struct, frozen=True):
    """A promotion of the version."""

    target_kind: Annotated[str, Meta(description="`alias` or `stage`")]
    target: str
    sequence: int
    time_ms: TimeMs
    actor: str
    current: Annotated[bool, Meta(description="Whether it is still there")]


class Lineage(Struct, frozen=True, kw_only=True):
    """Lineage of one version."""

    name: str
    version: Version
    source: str
    run: Annotated[LineageRun | None, Meta(description="Run that made it; null when there is none")] = None
    ancestors: Annotated[list[LineageVersion], Meta(description="It was made from these, nearest first")]
    descendants: Annotated[list[LineageVersion], Meta(description="These were made from it, nearest first")]
    promotions: Annotated[list[LineagePromotion], Meta(description="Newest first")]


class Lineages:
    """Calls about lineage."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._timeout = backends.timeout_seconds

    async def get(self, model: str, version: int, depth: int = 5) -> Lineage:
        """Lineage of a version over so many generations, 1 to 20."""
        request = pb.GetLineageRequest(name=model, version=version, depth=depth)
        answer = await answer_of(self._models.GetLineage(request, timeout=self._timeout))
        asked = answer.version
        return value_of(answer, Lineage, name=asked.name, version=asked.version, source=asked.source)

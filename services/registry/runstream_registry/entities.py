"""What the service keeps, as plain frozen values; every other module may import this one.

Numbers of the enumerations are those of ``runstream.registry.v1``. Times are milliseconds since the Unix epoch (UTC);
version and run ids are 32 lowercase hexadecimal characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IS_PROMPT_TAG = "mlflow.prompt.is_prompt"
"""The tag, with the value "true", that makes a registered model and its versions a prompt (MLflow)."""

PROMPT_TEXT_TAG = "mlflow.prompt.text"
"""The tag of a version that holds a prompt's text (MLflow)."""

GIT_COMMIT_TAG = "mlflow.source.git.commit"
GIT_REPOSITORY_TAG = "mlflow.source.git.repoURL"
SOURCE_NAME_TAG = "mlflow.source.name"
"""Tags of a run that say which code it ran (MLflow)."""


PROMPT_TYPE_TAG = "_mlflow_prompt_type"
"""The tag of a version that says whether its text is a text or a list of messages (MLflow)."""

PROMPT_CONTENT_TAGS = frozenset(
    {
        IS_PROMPT_TAG,
        PROMPT_TEXT_TAG,
        PROMPT_TYPE_TAG,
        "_mlflow_prompt_response_format",
        "_mlflow_prompt_model_config",
    }
)
"""Tags of a prompt version that are the version itself and not its user's."""

PROMPT_FIXED_TAGS = PROMPT_CONTENT_TAGS - {"_mlflow_prompt_model_config"}
"""Those of them that never change; the model's settings may be tried out on a version (MLflow)."""

PROMPT_SOURCES = frozenset({"prompt-template", "dummy-source"})
"""Sources of prompt versions, which have no files (MLflow)."""


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether tags mark a prompt (MLflow)."""
    return tags.get(IS_PROMPT_TAG, "").lower() == "true"


class VersionStatus(IntEnum):
    """Whether a version can be used."""

    PENDING = 1
    READY = 2
    FAILED = 3


class Stage(IntEnum):
    """MLflow's stages."""

    NONE = 1
    STAGING = 2
    PRODUCTION = 3
    ARCHIVED = 4

    @property
    def label(self) -> str:
        """As MLflow writes it, such as "Production"."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Where a version's files are; digest, count and size are empty for files that are kept elsewhere."""

    uri: str
    digest: str = ""
    file_count: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Parent:
    """A version that another one was made from."""

    name: str
    version: int
    relation: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model. The collections are empty when they were not asked for; a description that was
    taken away is None."""

    version_id: str
    model_id: int
    name: str
    version: int
    prompt: bool
    source: str
    artifacts: Artifacts
    creation_time_ms: int
    last_updated_time_ms: int
    status: VersionStatus = VersionStatus.READY
    status_message: str = ""
    stage: Stage = Stage.NONE
    run_id: str = ""
    logged_model_id: str = ""
    run_link: str = ""
    description: str | None = ""
    user_id: str = ""
    signature_json: str = ""
    flavors_json: str = ""
    aliases: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    parents: Sequence[Parent] = ()
    storage_location: str = ""


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """What somebody needs who only wants to load a version."""

    version: int
    version_id: str
    artifacts: Artifacts
    run_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model or prompt. The collections are empty when they were not asked for; keys are in order."""

    model_id: int
    name: str
    prompt: bool
    description: str
    creation_time_ms: int
    last_updated_time_ms: int
    promotion_sequence: int = 0
    version_count: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest_versions: Sequence[Version] = ()


@dataclass(frozen=True, slots=True)
class ByNumber:
    """Selects a version by its number."""

    version: int


@dataclass(frozen=True, slots=True)
class ByAlias:
    """Selects the version that an alias points at; "latest" in any case is the highest one (MLflow)."""

    alias: str


@dataclass(frozen=True, slots=True)
class ByStage:
    """Selects the highest version of a stage."""

    stage: Stage


Selector: TypeAlias = ByNumber | ByAlias | ByStage
"""Which version of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What a version is created from; checked by ``rules``.

    Args:
        source: as the client gave it.
        version_id: chosen by the client; empty means that one is made.
        create_model: make the model when there is none of that name.
        model_tags: of a model that is made.
        any_source: take sources that name nothing of ours, or have no files, as they are.
        storage_location: where clients of MLflow fetch the files from; empty means the source.
        actor: who registers it.
    """

    name: str
    source: str
    actor: str
    run_id: str = ""
    logged_model_id: str = ""
    run_link: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    signature_json: str = ""
    flavors_json: str = ""
    parents: Sequence[Parent] = ()
    version_id: str = ""
    create_model: bool = False
    model_tags: Mapping[str, str] = field(default_factory=dict)
    any_source: bool = False
    storage_location: str = ""


@dataclass(frozen=True, slots=True)
class DatasetFact:
    """A dataset that a run read."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the metadata service knows of a run; the metrics are the latest values."""

    run_id: str
    name: str
    experiment_id: str
    user_id: str
    deleted: bool
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: Sequence[DatasetFact]


@dataclass(frozen=True, slots=True)
class Relative:
    """A version in the lineage of another one.

    Args:
        generation: distance, from 1.
        near_name, near_version: the next version on the way to the asked one.
        relation: how the younger of the two was made from the older; may be empty.
    """

    name: str
    version: int
    run_id: str
    deleted: bool
    generation: int
    near_name: str
    near_version: int
    relation: str


@dataclass(frozen=True, slots=True)
class PromotionFact:
    """A promotion of a version, and whether the version is still there."""

    target_kind: str
    target: str
    sequence: int
    time_ms: int
    actor: str
    current: bool

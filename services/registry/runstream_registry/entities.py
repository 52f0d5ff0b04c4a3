"""What the service keeps, as plain frozen values; every other module may import this one.

Numbers of the enumerations are those of ``runstream.registry.v1``. Times are milliseconds since the Unix epoch (UTC);
version and run ids are 32 lowercase hexadecimal characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

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
    """A version of a registered model. The collections are empty when they were not asked for."""

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
    description: str = ""
    user_id: str = ""
    signature_json: str = ""
    flavors_json: str = ""
    aliases: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    parents: Sequence[Parent] = ()


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

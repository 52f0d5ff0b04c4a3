"""Writes registered models, prompts and their versions into MLflow's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _use_tracking_uri
from runstream_common.errors import AlreadyExists

from runstream.migration.target import ModelCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from runstream.migration.source import MlflowSource

NO_STAGE = "None"


class MlflowRegistryTarget:
    """The registry half of `MlflowTarget`.

    Args:
        registry: MLflow's registry store.
        reader: reads back what is there.
    """

    def __init__(self, registry: Any, reader: MlflowSource) -> None:
        self._registry = registry
        self._reader = reader

    def put_model(self, model: RegisteredModel) -> None:
        """See Target."""
        tags = [RegisteredModelTag(key, value) for key, value in model._tags.items()]  # noqa: SLF001 - with the prompt's
        try:
            self._registry.create_registered_model(model.name, tags, model.description or None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            for tag in tags:
                self._registry.set_registered_model_tag(model.name, tag)

    def put_version(self, version: ModelVersion, source: str, run_id: str, model_id: str) -> None:
        """See Target; raises AlreadyExists when MLflow has given the number already."""
        number = int(version.version)
        there = self._find(version.name, number)
        if there is not None:
            if there.source != source:
                raise AlreadyExists(
                    f"version {number} of {version.name!r} is another one there: {there.source}",
                    reason="VERSION_TAKEN",
                )
            return
        tags = [ModelVersionTag(key, value) for key, value in version._tags.items()]  # noqa: SLF001 - with the prompt's
        with _use_tracking_uri(self._reader.uri):  # by which a database resolves models:/m-…
            self._create_up_to(number, version, source, run_id, tags, model_id)

    def _create_up_to(
        self,
        number: int,
        version: ModelVersion,
        source: str,
        run_id: str,
        tags: list[ModelVersionTag],
        model_id: str,
    ) -> None:
        while True:
            made = self._registry.create_model_version(
                version.name,
                source,
                run_id or None,
                tags,
                version.run_link or None,
                version.description or None,
                model_id=model_id or None,
            )
            if int(made.version) >= number:
                break
            self._registry.delete_model_version(version.name, made.version)  # a gap
        if int(made.version) != number:
            self._registry.delete_model_version(version.name, made.version)
            raise AlreadyExists(
                f"MLflow has given number {number} of {version.name!r} before and deleted it",
                reason="VERSION_TAKEN",
            )

    def finish_model(self, model: RegisteredModel, versions: Sequence[ModelVersion]) -> None:
        """See Target; times cannot be set in MLflow."""
        for version in versions:
            if version.current_stage not in {None, "", NO_STAGE}:
                self._registry.transition_model_version_stage(
                    model.name, str(version.version), version.current_stage, archive_existing_versions=False
                )
        for alias, number in model.aliases.items():
            self._registry.set_registered_model_alias(model.name, alias, str(number))

    def model_counts(self, name: str) -> ModelCounts | None:
        """See Target."""
        try:
            model = self._registry.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return ModelCounts(
            tags=len(model._tags),  # noqa: SLF001
            aliases={alias: str(number) for alias, number in model.aliases.items()},
            versions={
                str(version.version): version.current_stage or NO_STAGE
                for version in self._reader.versions(model)
            },
        )

    def _find(self, name: str, number: int) -> Any:
        try:
            return self._registry.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

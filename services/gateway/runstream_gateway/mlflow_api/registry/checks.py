"""What names, tags, aliases and versions may be, decided by MLflow's own validators, so that refusals are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlflow.entities.model_registry.model_version_stages import get_canonical_stage
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.utils.validation import (
    _validate_model_alias_name,
    _validate_model_alias_name_reserved,
    _validate_model_name,
    _validate_model_renaming,
    _validate_model_version,
    _validate_model_version_tag,
    _validate_registered_model_tag,
    _validate_tag_name,
)
from runstream_proto.registry.v1 import types_pb2 as types

from runstream_gateway.mlflow_api.registry.refusals import version_missing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class TagMessage(Protocol):
        """A tag of any of MLflow's messages."""

        @property
        def key(self) -> str:
            """Key."""

        @property
        def value(self) -> str:
            """Value."""


_MAX_VERSION: Final = 2**31 - 1


def check_model_name(name: str) -> None:
    """Refuse a name that no model can have.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _validate_model_name(name)


def check_new_name(name: str) -> None:
    """Refuse a name that a model cannot be given.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _validate_model_renaming(name)


def check_model_tags(tags: Iterable[TagMessage]) -> None:
    """Refuse tags that a model cannot have.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    for tag in tags:
        _validate_registered_model_tag(tag.key, tag.value)


def check_version_tags(tags: Iterable[TagMessage]) -> None:
    """Refuse tags that a version cannot have.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    for tag in tags:
        _validate_model_version_tag(tag.key, tag.value)


def check_tag_key(key: str) -> None:
    """Refuse a key that no tag can have.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _validate_tag_name(key)


def check_alias(alias: str) -> None:
    """Refuse what no alias can be called; "latest" may be read and deleted.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _validate_model_alias_name(alias)


def check_new_alias(alias: str) -> None:
    """Refuse what no alias can be called, and what is reserved: "latest", and "v" with a number.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    check_alias(alias)
    _validate_model_alias_name_reserved(alias)


def version_number(name: str, text: str) -> int:
    """The number of a version; MLflow takes whatever Python reads as an integer.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE for what is no integer, 404 for one that no version can have.
    """
    number: int = _validate_model_version(text)
    if not 1 <= number <= _MAX_VERSION:
        raise version_missing(name, text)
    return number


def stage_name(text: str) -> str:
    """A stage as MLflow writes it.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    name: str = get_canonical_stage(text)
    return name


def stage_of(text: str) -> types.Stage.ValueType:
    """A stage as the registry takes it.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    return types.Stage.Value(f"STAGE_{stage_name(text).upper()}")


def is_prompt(tags: Iterable[TagMessage]) -> bool:
    """Whether tags make a prompt; the last value of a key counts."""
    last = {tag.key: tag.value for tag in tags}
    return last.get(IS_PROMPT_TAG_KEY, "false").lower() == "true"

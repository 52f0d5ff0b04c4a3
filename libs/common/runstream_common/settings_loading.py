"""How settings are read: environment, secrets from files, retired names, and errors fit for an operator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

PREFIX = "RUNSTREAM_"


class SettingsError(Exception):
    """The settings cannot be used; the text has one line a problem and never a value."""


class FileSource(PydanticBaseSettingsSource):
    """Reads ``<NAME>_FILE``: the path of a file that holds the value, as secret mounts provide it.

    Trailing newlines are dropped. Setting both ``<NAME>`` and ``<NAME>_FILE`` is refused, since nobody
    could tell which one is meant.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's text for one field, or None when no file is named."""
        del field
        name = env_name(field_name)
        path = os.environ.get(f"{name}_FILE")
        if not path:
            return None, field_name, False
        if name in os.environ:
            raise SettingsError(f"{name} and {name}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except OSError as error:
            raise SettingsError(f"{name}_FILE: cannot read {path}: {error.strerror}") from error

    def __call__(self) -> dict[str, Any]:
        """The values of every field whose ``_FILE`` name is set."""
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


class SettingsBlock(BaseSettings):
    """Base of every block of settings: named ``RUNSTREAM_<FIELD>``, read once at start, frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )
    retired_names: ClassVar[Mapping[str, str]] = {}
    """Environment names that were renamed, to the name that replaced them: using one fails at start."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over files."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, FileSource(settings_cls)


S = TypeVar("S", bound=SettingsBlock)


def env_name(field_name: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{field_name.upper()}"


def load_settings(settings_type: type[S], **overrides: Any) -> S:
    """Read settings from the environment.

    Args:
        settings_type: the block to read.
        overrides: values that win over the environment, by field name.

    Raises:
        SettingsError: a value is missing, malformed or out of bounds, or a retired name is used.
    """
    retired = _retired_in_use(settings_type)
    if retired:
        raise SettingsError("\n".join(retired))
    try:
        return settings_type(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_problem_lines(error))) from None


def _retired_in_use(settings_type: type[SettingsBlock]) -> list[str]:
    # Every block of a composed class may retire names, so the whole ancestry is asked.
    lines = []
    for block in settings_type.__mro__:
        for old, new in vars(block).get("retired_names", {}).items():
            if old in os.environ or f"{old}_FILE" in os.environ:
                lines.append(f"{old} is no longer read: use {new}")
    return lines


def _problem_lines(error: ValidationError) -> list[str]:
    return [
        f"{env_name(str(problem['loc'][0])) if problem['loc'] else 'settings'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]

"""Model config and response format of prompts: JSON objects that MLflow's client must be able to read."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_common.violations import Violations

MAX_EXACT_INTEGER: Final = 2**53
"""Beyond it a number that came as a double may not be the integer that was meant."""


class _ModelConfig(BaseModel):
    """The fields of MLflow's `PromptModelConfig`, which refuses to load a prompt that breaks its bounds."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    provider: str | None = None
    model_name: str | None = None
    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, gt=0)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, gt=0)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_sequences: list[str] | None = None


def model_config_json(config: Mapping[str, Any], violations: Violations) -> str:
    """The config as JSON; empty for none. What MLflow would not take is noted."""
    if not config:
        return ""
    plain = _plain(config, "model_config", violations)
    try:
        _ModelConfig.model_validate(plain)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            violations.add(_path("model_config", item["loc"]), item["msg"])
    return json.dumps(plain)


def response_format_json(schema: Mapping[str, Any], violations: Violations) -> str:
    """The schema as JSON; empty for none. What is no JSON schema (2020-12) is noted."""
    if not schema:
        return ""
    plain = _plain(schema, "response_format", violations)
    try:
        Draft202012Validator.check_schema(plain)
    except SchemaError as error:
        path = _path("response_format", error.absolute_path)
        violations.add(path, f"is no JSON schema: {error.message}"[:500])
    return json.dumps(plain)


def _path(root: str, steps: Iterable[int | str]) -> str:
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _plain(value: Any, path: str, violations: Violations) -> Any:
    """The value with whole numbers as integers: in a message every number is a double."""
    if isinstance(value, dict):
        return {key: _plain(item, f"{path}.{key}", violations) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            violations.add(path, "must be a finite number")
            return None
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT_INTEGER else value
    return value

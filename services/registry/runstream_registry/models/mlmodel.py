"""Signature and flavors from the file ``MLmodel`` that MLflow puts beside a model's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

FILE_NAME = "MLmodel"
MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the file says, as JSON objects; empty when it says nothing. The problem is empty when it could be read."""

    signature_json: str = ""
    flavors_json: str = ""
    problem: str = ""


def read_mlmodel(content: bytes) -> ModelFacts:
    """What a file says. One that cannot be read is no reason to refuse a model, but is told."""
    try:
        document = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return ModelFacts(problem=f"{FILE_NAME} is not YAML: {str(error).splitlines()[0][:200]}")
    if not isinstance(document, dict):
        return ModelFacts(problem=f"{FILE_NAME} is no mapping")
    try:
        return ModelFacts(_object(document.get("signature")), _object(document.get("flavors")))
    except (TypeError, ValueError, RecursionError) as error:
        return ModelFacts(problem=f"{FILE_NAME} does not translate to JSON: {error}")


def _object(value: Any) -> str:
    """A mapping as JSON; dates and the like as texts."""
    return json.dumps(value, default=str, allow_nan=False) if isinstance(value, dict) and value else ""

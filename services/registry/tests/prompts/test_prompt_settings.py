"""Model config and response format: what MLflow's client could not read is refused, field by field."""

from __future__ import annotations

import json
import math

import pytest
from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations
from runstream_registry.prompts.prompt_settings import model_config_json, response_format_json


def violated(check, value) -> set[str]:
    violations = Violations()
    check(value, violations)
    try:
        violations.check()
    except InvalidArgument as error:
        return {item.field for item in error.violations}
    return set()


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, set()),
        (
            {"model_name": "m", "temperature": 0.0, "max_tokens": 100.0, "top_p": 1.0, "own": {"x": [1.0]}},
            set(),
        ),
        ({"model_name": None, "stop_sequences": ["a"]}, set()),
        ({"temperature": -0.1}, {"model_config.temperature"}),
        ({"max_tokens": 1.5, "top_p": 2.0}, {"model_config.max_tokens", "model_config.top_p"}),
        ({"model_name": 3.0}, {"model_config.model_name"}),
        ({"stop_sequences": ["a", 1.0]}, {"model_config.stop_sequences[1]"}),
        ({"own": [{"x": math.nan}]}, {"model_config.own[0].x"}),
    ],
)
def test_model_config(config, fields):
    assert violated(model_config_json, config) == fields


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ({}, set()),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 1.0}}}, set()),
        ({"$ref": "https://example.com/elsewhere.json"}, set()),
        ({"type": "nothing"}, {"response_format.type"}),
        ({"properties": {"a": {"minLength": -1.0}}}, {"response_format.properties.a.minLength"}),
    ],
)
def test_response_format(schema, fields):
    assert violated(response_format_json, schema) == fields


def test_whole_numbers_are_stored_as_integers():
    stored = model_config_json({"max_tokens": 100.0, "temperature": 0.5, "own": [1e300]}, Violations())

    assert stored == '{"max_tokens": 100, "temperature": 0.5, "own": [1e+300]}'
    assert json.loads(stored)["max_tokens"] == 100

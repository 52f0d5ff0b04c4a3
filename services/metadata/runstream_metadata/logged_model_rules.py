"""What ids, names, params, tags and points of logged models may be: MLflow's rules, checked before anything is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runstream_common.violations import Violations
from runstream_contract import limits
from runstream_contract.names import is_run_id, key_problem

from runstream_metadata import rules
from runstream_metadata.errors import LoggedModelNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_metadata.logged_model_entities import ModelMetric

FORBIDDEN_IN_NAMES = "/:.%\"'"
"""Characters that a logged model's name must not have (MLflow)."""

MAX_NAME_LENGTH = 500
"""Characters of a name, a type or a source run id (MLflow's columns)."""

MAX_KEY_LENGTH = 255
"""Characters of the key of a param or tag (MLflow's columns); any characters."""

MAX_METRICS = 10_000
"""Points of one ``log_metrics``."""

_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


def is_model_id(text: str) -> bool:
    """Whether the text has the form of a logged model's id."""
    return _MODEL_ID.fullmatch(text) is not None


def known_form(model_id: str) -> str:
    """An id that has the form of one; no model has one of another form, and that is what MLflow answers.

    Raises:
        LoggedModelNotFound: it has another form.
    """
    if not is_model_id(model_id):
        raise LoggedModelNotFound(model_id)
    return model_id


def check_name(name: str, violations: Violations) -> None:
    """Note a name that is too long or has a forbidden character; the empty one stands for a generated one."""
    if len(name) > MAX_NAME_LENGTH:
        violations.add("name", f"has {len(name)} characters, at most {MAX_NAME_LENGTH} are allowed")
    if any(sign in name for sign in FORBIDDEN_IN_NAMES):
        violations.add("name", f"must not have any of the characters {' '.join(FORBIDDEN_IN_NAMES)}")


def texts(
    field: str, pairs: Sequence[tuple[str, str]], violations: Violations, *, once: bool = False
) -> dict[str, str]:
    """Params or tags in the order of keys: parallel writers lock in one order."""
    result: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            violations.add(f"{field}[{index}].key", f"needs 1 to {MAX_KEY_LENGTH} characters, has {len(key)}")
        if once and key in result:
            violations.add(f"{field}[{index}].key", "comes twice")
        result[key] = value
    return dict(sorted(result.items()))


def check_metrics(metrics: Sequence[ModelMetric]) -> None:
    """Refuse points that are too many or wrong.

    Raises:
        InvalidArgument: with every breach.
    """
    violations = Violations()
    if not 1 <= len(metrics) <= MAX_METRICS:
        violations.add("metrics", f"needs 1 to {MAX_METRICS} points, has {len(metrics)}")
    for index, metric in enumerate(metrics[:MAX_METRICS]):
        problem = key_problem(metric.key)
        if problem is not None:
            violations.add(f"metrics[{index}].key", problem)
        if not is_run_id(metric.run_id):
            violations.add(f"metrics[{index}].run_id", "must be 32 lowercase hexadecimal characters")
        rules.time_ms(f"metrics[{index}].timestamp_ms", metric.timestamp_ms, violations)
        for part, text, limit in (
            ("dataset_name", metric.dataset_name, limits.MAX_DATASET_NAME_LENGTH),
            ("dataset_digest", metric.dataset_digest, limits.MAX_DATASET_DIGEST_LENGTH),
        ):
            if len(text) > limit:
                violations.add(f"metrics[{index}].{part}", f"has {len(text)} characters, at most {limit}")
    violations.check()

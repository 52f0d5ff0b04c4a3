"""Rules for keys and ids, the same at every door.

Source of the key rule: MLflow `mlflow.utils.validation` (letters, digits, `_ - . space : /`, clean relative path).
"""

import posixpath
import re

from runstream_contract.limits import MAX_KEY_LENGTH

_KEY = re.compile(r"[/\w.\- :]+")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def key_problem(key: str) -> str | None:
    """Say what is wrong with a metric, param or tag key; None when it is fine.

    Unicode letters and digits count as such, as in MLflow.
    """
    if not key:
        return "must not be empty"
    if len(key) > MAX_KEY_LENGTH:
        return f"has {len(key)} characters, at most {MAX_KEY_LENGTH} are allowed"
    if _KEY.fullmatch(key) is None:
        return "may hold only letters, digits, '_', '-', '.', ' ', ':' and '/'"
    if key == "." or key.startswith(("..", "/")) or posixpath.normpath(key) != key:
        return "must be a clean relative path: no leading '/', no '..', no '//', no trailing '/'"
    return None


def is_run_id(text: str) -> bool:
    """Whether the text has the form of a run id: 32 lowercase hexadecimal characters."""
    return _RUN_ID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its usual form with dashes."""
    return _UUID.fullmatch(text) is not None

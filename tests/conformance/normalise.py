"""Makes what two servers showed comparable: ids, times and addresses become words for their order of appearance."""

from __future__ import annotations

import enum
import math
import re
from typing import Any

import numpy as np
import pandas as pd

_RUN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost):\d+")
_GENERATED_NAME = re.compile(r"^[a-z]+-[a-z]+-\d{1,3}$")
_NOW_MS = 1_700_000_000_000
"""Times that scenarios make up are earlier."""
_UNORDERED_KEYS = frozenset(
    {"dataset_inputs", "model_inputs", "model_outputs", "dataset_summaries", "aliases"}
)
_EXPERIMENT_KEYS = frozenset({"experiment_id", "experiment_ids", "_experiment_id"})
_TIME_TEXT = re.compile(r"\b1[789]\d{11}\b|\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: UTC)?")
_TEMPORARY = re.compile(r"(?:/private)?/tmp/[^\s'\",]+")


class Normaliser:
    """Names things by when they are first seen. One for everything that one server showed."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._experiments: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        """The comparable form of a value: plain lists, dicts, texts and numbers."""
        return self._plain(value, key="")

    def _plain(self, value: Any, key: str) -> Any:
        if isinstance(value, enum.Enum):
            return value.name
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, (int, np.integer)):
            return "<time>" if int(value) > _NOW_MS and value < 2 * _NOW_MS else int(value)
        if isinstance(value, (float, np.floating)):
            return self._number(float(value))
        return self._composed(value, key)

    def _composed(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {self._plain(name, ""): self._plain(item, str(name)) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return self._ordered([self._plain(item, key) for item in value], key)
        if isinstance(value, (set, frozenset)):
            return sorted((self._plain(item, key) for item in value), key=repr)
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if isinstance(value, pd.DataFrame):
            columns = sorted(value.columns)
            return {"columns": columns, "rows": self._plain(value[columns].to_dict("records"), "")}
        if isinstance(value, pd.Timestamp):
            return "<time>" if value.timestamp() * 1000 > _NOW_MS else str(value)
        if isinstance(value, np.ndarray):
            return self._plain(value.tolist(), key)
        return self._entity(value)

    def _ordered(self, items: list[Any], key: str) -> list[Any]:
        """Tags, params and inputs come in whatever order a database has; histories and pages in one that is promised."""
        if items and all(isinstance(item, dict) and {"key", "value"} <= set(item) for item in items):
            keys = [str(item["key"]) for item in items]
            # A history has one key many times, in its order.
            return sorted(items, key=lambda item: str(item["key"])) if len(set(keys)) == len(keys) else items
        return sorted(items, key=repr) if key in _UNORDERED_KEYS else items

    def _entity(self, value: Any) -> Any:
        fields = {
            name.lstrip("_"): getattr(value, name)
            for name in {*getattr(value, "__dict__", {}), *_slots(value)}
            if not name.startswith("__") and not callable(getattr(value, name, None))
        }
        if not fields:
            return f"<{type(value).__name__}>"
        return {
            "type": type(value).__name__,
            **{name: self._plain(item, name) for name, item in sorted(fields.items())},
        }

    def _number(self, value: float) -> Any:
        if math.isnan(value):
            return "<NaN>"
        return "<time>" if _NOW_MS < value < 2 * _NOW_MS else value

    def _text(self, text: str, key: str) -> str:
        if key in _EXPERIMENT_KEYS and text.isdigit():
            return self._experiments.setdefault(
                text, f"<experiment {len(self._experiments)}>" if text != "0" else "0"
            )
        if key == "next_page_token":
            return "<token>"
        if _GENERATED_NAME.match(text):
            return "<generated name>"
        text = _RUN_ID.sub(self._word("hex"), text)
        text = _UUID.sub(self._word("uuid"), text)
        text = re.sub(r"(mlflow-artifacts:/)(\d+)", lambda match: match[1] + self._experiment(match[2]), text)
        text = re.sub(r"(ID=|id |ids: \[?'?)(\d+)", lambda match: match[1] + self._experiment(match[2]), text)
        text = re.sub(
            r"^((?:,\d+)+,)$", lambda match: re.sub(r"\d+", lambda n: self._experiment(n[0]), match[1]), text
        )
        text = _TEMPORARY.sub("<path>", text)
        text = _TIME_TEXT.sub("<time>", text)
        return _ADDRESS.sub("<address>", text)

    def _word(self, kind: str) -> Any:
        return lambda match: self._words.setdefault(match[0], f"<{kind} {len(self._words)}>")

    def _experiment(self, text: str) -> str:
        return self._experiments.setdefault(
            text, f"<experiment {len(self._experiments)}>" if text != "0" else "0"
        )


def _slots(value: Any) -> list[str]:
    return [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]

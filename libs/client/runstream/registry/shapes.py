"""What the registry's result types share: their JSON shape and their table in notebooks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from runstream.query import frames
from runstream.query.notebook import table_html


@dataclass(frozen=True, slots=True)
class Result:
    """Base of the results: frozen data with `to_dict()` and a table in notebooks."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, the shape that `--json` of the command line prints (docs/cli.md)."""
        return {item.name: json_ready(getattr(self, item.name)) for item in fields(self)}

    def _repr_html_(self) -> str:
        filled = {name: value for name, value in self.to_dict().items() if value not in (None, "", [], {})}
        return table_html([type(self).__name__, ""], [(name, _text(value)) for name, value in filled.items()])


def json_ready(value: Any) -> Any:
    """A field's value as JSON takes it: times as ISO 8601, NaN and infinities as text, results as objects."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, datetime):
        return frames.time_text(value)
    if isinstance(value, float):
        return frames.json_number(value)
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return value


def _text(value: Any) -> str | float:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value

"""Which fields a search knows, by which names, and what may be asked of each.

Source: MLflow's `SearchUtils` and `SearchExperimentsUtils`. Names are case-sensitive, keywords are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from runstream_metadata.search.syntax import Entity, Field, Operator

if TYPE_CHECKING:
    from collections.abc import Mapping

DATASET_CONTEXT_TAG = "mlflow.data.context"
"""The tag of a dataset's link that ``dataset.context`` stands for (MLflow)."""


class ValueKind(Enum):
    """What a field is compared with; the value is how a message calls it."""

    TEXT = "a quoted text"
    NUMBER = "a number"
    EXPERIMENT_ID = "a quoted decimal number"


_NUMERIC = frozenset(
    {
        Operator.EQUAL,
        Operator.NOT_EQUAL,
        Operator.LESS,
        Operator.LESS_OR_EQUAL,
        Operator.GREATER,
        Operator.GREATER_OR_EQUAL,
    }
)
_EQUALITY = frozenset({Operator.EQUAL, Operator.NOT_EQUAL})
_TEXTUAL = _EQUALITY | {Operator.LIKE, Operator.ILIKE}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What may be asked of a field."""

    kind: ValueKind
    operators: frozenset[Operator]
    in_list: bool = False
    null_check: bool = False
    orderable: bool = True


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of one kind of object.

    Args:
        entities: words before the dot, aliases included.
        keyed: entities whose keys users choose.
        named: entities with fixed fields, by canonical name.
        aliases: other names of fixed fields.
    """

    entities: Mapping[str, Entity]
    keyed: Mapping[Entity, FieldRule]
    named: Mapping[Entity, Mapping[str, FieldRule]]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, entity_word: str, key: str) -> tuple[Field, FieldRule] | str:
        """The field and its rule, or what is wrong with the name.

        Args:
            entity_word: what stood before the dot; empty means an attribute.
        """
        entity = self.entities.get(entity_word) if entity_word else Entity.ATTRIBUTE
        if entity is None:
            return f"{entity_word!r} is none of {', '.join(self.entities)}"
        if entity in self.keyed:
            return (Field(entity, key), self.keyed[entity]) if key else "the key is empty"
        name = self.aliases.get(key, key) if entity is Entity.ATTRIBUTE else key
        rule = self.named[entity].get(name)
        if rule is None:
            return f"{entity} have no {key!r}; they have {', '.join(self.named[entity])}"
        return Field(entity, name), rule


_METRIC = FieldRule(ValueKind.NUMBER, _NUMERIC)
_KEYED_TEXT = FieldRule(ValueKind.TEXT, _TEXTUAL, null_check=True)
_TEXT = FieldRule(ValueKind.TEXT, _TEXTUAL)
_TIME = FieldRule(ValueKind.NUMBER, _NUMERIC)
_DATASET = FieldRule(ValueKind.TEXT, _TEXTUAL, in_list=True, orderable=False)

RUN_FIELDS = FieldTable(
    entities={
        **dict.fromkeys(("metrics", "metric"), Entity.METRIC),
        **dict.fromkeys(("params", "param", "parameters", "parameter"), Entity.PARAM),
        **dict.fromkeys(("tags", "tag"), Entity.TAG),
        **dict.fromkeys(("attributes", "attribute", "attr", "run"), Entity.ATTRIBUTE),
        **dict.fromkeys(("datasets", "dataset"), Entity.DATASET),
    },
    keyed={Entity.METRIC: _METRIC, Entity.PARAM: _KEYED_TEXT, Entity.TAG: _KEYED_TEXT},
    named={
        Entity.ATTRIBUTE: {
            "run_id": FieldRule(ValueKind.TEXT, _TEXTUAL, in_list=True),
            "run_name": _TEXT,
            "user_id": _TEXT,
            "status": _TEXT,
            "artifact_uri": _TEXT,
            "start_time": _TIME,
            "end_time": _TIME,
        },
        Entity.DATASET: {"name": _DATASET, "digest": _DATASET, "context": _DATASET},
    },
    aliases={
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
)
"""Fields of runs."""

EXPERIMENT_FIELDS = FieldTable(
    entities={
        **dict.fromkeys(("attributes", "attribute"), Entity.ATTRIBUTE),
        **dict.fromkeys(("tags", "tag"), Entity.TAG),
    },
    keyed={Entity.TAG: FieldRule(ValueKind.TEXT, _TEXTUAL, null_check=True, orderable=False)},
    named={
        Entity.ATTRIBUTE: {
            "name": _TEXT,
            "experiment_id": FieldRule(ValueKind.EXPERIMENT_ID, _EQUALITY, in_list=True),
            "creation_time": _TIME,
            "last_update_time": _TIME,
        }
    },
)
"""Fields of experiments."""

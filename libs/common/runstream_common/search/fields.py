"""What a search knows of the objects it looks through: fields, their names, and what may be asked of each.

Source: MLflow's `SearchUtils`. Names are case-sensitive, keywords are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from runstream_common.search.syntax import Entity, Field, Operator

if TYPE_CHECKING:
    from collections.abc import Mapping


class ValueKind(Enum):
    """What a field is compared with; the value is how a message calls it."""

    TEXT = "a quoted text"
    NUMBER = "a number"
    QUOTED_INTEGER = "a quoted decimal number"


NUMERIC = frozenset(
    {
        Operator.EQUAL,
        Operator.NOT_EQUAL,
        Operator.LESS,
        Operator.LESS_OR_EQUAL,
        Operator.GREATER,
        Operator.GREATER_OR_EQUAL,
    }
)
EQUALITY = frozenset({Operator.EQUAL, Operator.NOT_EQUAL})
TEXTUAL = EQUALITY | {Operator.LIKE, Operator.ILIKE}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What may be asked of a field.

    Args:
        quoted_too: a number may also stand in quotes when it is an integer (MLflow's versions).
    """

    kind: ValueKind
    operators: frozenset[Operator]
    in_list: bool = False
    null_check: bool = False
    orderable: bool = True
    quoted_too: bool = False


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of one kind of object.

    Args:
        entities: words before the dot, aliases included.
        keyed: entities whose keys users choose.
        named: entities with fixed fields, by canonical name.
        aliases: other names of fixed fields.
        example: a field, for messages.
    """

    entities: Mapping[str, Entity]
    keyed: Mapping[Entity, FieldRule]
    named: Mapping[Entity, Mapping[str, FieldRule]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    example: str = "metrics.loss"

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

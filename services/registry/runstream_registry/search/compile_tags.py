"""Clauses about tags as SQL, for models and versions alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.search.compile_values import compare_text
from runstream_common.search.syntax import And, Comparison, NullCheck, Operator, Or
from runstream_common.search.syntax import Not as NotExpression
from runstream_common.search.text_match import matches
from sqlalchemy import exists, false, func, not_, text, true

from runstream_registry.entities import IS_PROMPT_TAG
from runstream_registry.store.tables import INDEXED_VALUE_LENGTH

if TYPE_CHECKING:
    from runstream_common.search.syntax import Clause, Expression
    from sqlalchemy import ColumnElement, Table


def asks_for_prompts(expression: Expression | None) -> bool:
    """Whether the filter says itself which of models and prompts it wants."""
    match expression:
        case None:
            return False
        case And() | Or():
            return any(asks_for_prompts(operand) for operand in expression.operands)
        case NotExpression():
            return asks_for_prompts(expression.operand)
        case _:
            return expression.field.key == IS_PROMPT_TAG


def mlflow_prompt_rule(expression: Expression | None) -> tuple[Expression | None, bool]:
    """What a filter of MLflow's grammar asks for, and whether it is prompts that it asks for.

    Its first clause about the tag that makes a prompt decides: ``= 'true'`` and ``!= 'false'`` ask for prompts; anything
    else, and no such clause, for models, whatever the clauses about that tag say (MLflow's `_is_querying_prompt`).

    Args:
        expression: a clause, or several joined by AND.
    """
    clauses = expression.operands if isinstance(expression, And) else (expression,)
    about = [item for item in clauses if isinstance(item, Comparison) and item.field.key == IS_PROMPT_TAG]
    if about and _asks_for_prompts(about[0]):
        return expression, True
    others = tuple(item for item in clauses if item is not None and item not in about)
    if len(others) <= 1:
        return (others[0] if others else None), False
    return And(others), False


def _asks_for_prompts(clause: Comparison) -> bool:
    word = {Operator.EQUAL: "true", Operator.NOT_EQUAL: "false"}.get(clause.operator)
    return str(clause.value).lower() == word


def tag_clause(clause: Clause, owner: Table, tags: Table, owner_key: str) -> ColumnElement[bool]:
    """A clause about a tag. A missing key makes it false, also with ``!=``, and it is never NULL.

    Args:
        owner: ``model`` or ``version``.
        tags: the owner's table of tags.
        owner_key: name of the column that both share.
    """
    if clause.field.key == IS_PROMPT_TAG:
        return _prompt_clause(clause, owner.c.prompt)
    values = tags.alias()
    present = exists().where(values.c[owner_key] == owner.c[owner_key], values.c.key == clause.field.key)
    if isinstance(clause, NullCheck):
        found = present.correlate(owner)
        return found if clause.negated else not_(found)
    comparison = _comparison(clause)
    value = str(comparison.value)
    conditions = [compare_text(values.c.value, comparison.operator, value)]
    if comparison.operator is Operator.EQUAL:
        # What the index holds of the value.
        start = func.left(values.c.value, text(str(INDEXED_VALUE_LENGTH)))
        conditions.append(compare_text(start, Operator.EQUAL, value[:INDEXED_VALUE_LENGTH]))
    return present.where(*conditions).correlate(owner)


def _prompt_clause(clause: Clause, prompt: ColumnElement[bool]) -> ColumnElement[bool]:
    """A model has not the tag, and yet ``!= 'true'`` and ``= 'false'`` find it (MLflow)."""
    if isinstance(clause, NullCheck):
        return prompt if clause.negated else not_(prompt)
    comparison = _comparison(clause)
    of_prompts, of_models = (
        matches(word, comparison.operator, str(comparison.value)) for word in ("true", "false")
    )
    if of_prompts and of_models:
        return true()
    if of_prompts:
        return prompt
    return not_(prompt) if of_models else false()


def _comparison(clause: Clause) -> Comparison:
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    return clause

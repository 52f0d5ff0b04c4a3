"""Templates of prompts: text or a chat, with variables in double braces, in MLflow's grammar."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runstream_common.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIABLE: Final = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\s*\}\}")
"""MLflow's `PROMPT_TEMPLATE_VARIABLE_PATTERN`."""

MAX_RENDERED_LENGTH: Final = 1_000_000
"""Characters of a filled template: a short one can name a variable thousands of times."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Template:
    """What is sent to a model.

    Args:
        text: None for a chat.
        messages: empty for a text.
    """

    text: str | None
    messages: Sequence[Message] = ()

    @property
    def parts(self) -> list[str]:
        """The texts that hold variables, in their order."""
        return [message.content for message in self.messages] if self.text is None else [self.text]

    @property
    def stored(self) -> str:
        """As MLflow keeps it: the text, or a JSON list of role and content."""
        if self.text is not None:
            return self.text
        return json.dumps([{"role": item.role, "content": item.content} for item in self.messages])

    @property
    def lines(self) -> list[str]:
        """For people to compare: the lines of the text, or those of each message under its role."""
        if self.text is not None:
            return self.text.splitlines()
        return [line for item in self.messages for line in (f"[{item.role}]", *item.content.splitlines())]

    @property
    def variables(self) -> list[str]:
        """Names in double braces, in the order of their first use."""
        return list(dict.fromkeys(name for part in self.parts for name in VARIABLE.findall(part)))

    @property
    def is_jinja(self) -> bool:
        """Whether it has Jinja statements, which MLflow's client runs (MLflow's rule to tell)."""
        return any("{%" in part and "%}" in part for part in self.parts)


def stored_template(text: str, *, chat: bool) -> Template:
    """The template that MLflow's tags hold, whoever wrote them.

    Content that is no text, such as a list of parts with images, is shown as its JSON.
    """
    if not chat:
        return Template(text)
    try:
        items: Any = json.loads(text)
    except ValueError:
        return Template(text)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return Template(text)
    return Template(
        None, [Message(str(item.get("role", "")), _content(item.get("content"))) for item in items]
    )


def _content(content: object) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else json.dumps(content)


def check_variables(template: Template, expected: Sequence[str]) -> None:
    """Refuse a template that has other variables than expected.

    Args:
        expected: empty: any will do.

    Raises:
        InvalidArgument: names what is missing and what is too much.
    """
    if not expected:
        return
    missing = [name for name in dict.fromkeys(expected) if name not in template.variables]
    extra = [name for name in template.variables if name not in expected]
    if missing or extra:
        raise InvalidArgument(
            [FieldViolation("template", f"does not use the expected variable {name!r}") for name in missing]
            + [FieldViolation("template", f"uses {name!r}, which is not expected") for name in extra]
        )


def render(template: Template, values: Mapping[str, str]) -> Template:
    """The template with its variables filled; what looks like a variable in a value stays as it is.

    Args:
        values: for every variable of the template and no other.

    Raises:
        InvalidArgument: values are missing or unknown, the template is one for Jinja, or the outcome is too long.
    """
    if template.is_jinja:
        raise InvalidArgument.of(
            "version",
            "is a Jinja template; only MLflow's client runs its statements",
            reason="JINJA_TEMPLATE",
        )
    _check_values(template, values)
    rendered_length = sum(_rendered_length(part, values) for part in template.parts)
    if rendered_length > MAX_RENDERED_LENGTH:
        raise InvalidArgument.of(
            "variables",
            f"make {rendered_length} characters of the template, at most {MAX_RENDERED_LENGTH} are allowed",
        )
    if template.text is not None:
        return Template(_filled(template.text, values))
    return Template(None, [Message(item.role, _filled(item.content, values)) for item in template.messages])


def _check_values(template: Template, values: Mapping[str, str]) -> None:
    names = template.variables
    violations = [FieldViolation(f"variables.{name}", "is missing") for name in names if name not in values]
    violations += [
        FieldViolation(f"variables.{name}", "is unknown; the template has no such variable")
        for name in sorted(values)
        if name not in names
    ]
    if violations:
        raise InvalidArgument(violations)


def _rendered_length(part: str, values: Mapping[str, str]) -> int:
    return len(part) + sum(len(values[found[1]]) - len(found[0]) for found in VARIABLE.finditer(part))


def _filled(part: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[1]], part)

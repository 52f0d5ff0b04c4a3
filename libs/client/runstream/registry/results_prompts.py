"""Prompts and their versions, as the client returns them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.errors import FieldViolation, InvalidArgument

from runstream.registry.shapes import Result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class ChatMessage(Result):
    """One message of a chat: "system", "user", "assistant" or another role, and its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class PromptVersion(Result):
    """A version of a prompt.

    Attributes:
        template: text, or the messages of a chat, with {{variables}}.
        variables: names in {{…}}, in the order of their first use.
        model_config: model and its parameters; may be empty.
        response_format: JSON schema of the answer; may be empty.
        commit_message: why it was made.
        user_id: who made it.
    """

    name: str
    version: int
    template: str | tuple[ChatMessage, ...]
    variables: tuple[str, ...]
    model_config: Mapping[str, Any]
    response_format: Mapping[str, Any]
    commit_message: str
    user_id: str
    creation_time: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def is_chat(self) -> bool:
        """Whether the template is a chat."""
        return not isinstance(self.template, str)

    @property
    def uri(self) -> str:
        """MLflow's name of it: "prompts:/<name>/<version>"."""
        return f"prompts:/{self.name}/{self.version}"

    def format(self, **values: object) -> str | list[dict[str, str]]:
        """The template with its variables filled, here and without a call.

        Args:
            values: one for each of `variables`, and no others.

        Returns:
            The text, or the messages as model clients take them.

        Raises:
            InvalidArgument: variables are missing or unknown.
        """
        missing = [FieldViolation(f"values.{n}", "is missing") for n in self.variables if n not in values]
        unknown = [FieldViolation(f"values.{n}", "is no variable") for n in values if n not in self.variables]
        if missing or unknown:
            raise InvalidArgument([*missing, *unknown])
        if isinstance(self.template, str):
            return self._filled(self.template, values)
        return [{"role": m.role, "content": self._filled(m.content, values)} for m in self.template]

    def _filled(self, text: str, values: Mapping[str, object]) -> str:
        if not self.variables:
            return text
        # In one pass, so that braces in a value stay as they are.
        names = "|".join(re.escape(name) for name in self.variables)
        return re.sub(r"\{\{\s*(" + names + r")\s*\}\}", lambda found: str(values[found.group(1)]), text)


@dataclass(frozen=True, slots=True)
class Prompt(Result):
    """A prompt.

    Attributes:
        aliases: version by alias.
        latest_version: highest version; 0 when there is none.
    """

    name: str
    description: str
    creation_time: datetime
    last_updated_time: datetime
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    latest_version: int


@dataclass(frozen=True, slots=True)
class PromptDiff(Result):
    """What a later version of a prompt changed; diffs are unified ones, empty when equal."""

    name: str
    from_version: int
    to_version: int
    template_diff: str
    added_variables: tuple[str, ...]
    removed_variables: tuple[str, ...]
    model_config_diff: str
    response_format_diff: str


@dataclass(frozen=True, slots=True)
class RenderedPrompt(Result):
    """A version's template with its variables filled by the service."""

    version: int
    content: str | tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class PromptLink(Result):
    """Something that used a prompt version; `kind` is "run" or "trace", `id` its id."""

    name: str
    version: int
    kind: str
    id: str
    time: datetime

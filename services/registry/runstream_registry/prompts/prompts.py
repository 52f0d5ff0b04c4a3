"""Prompts: registered models whose versions hold a template instead of files, in MLflow's tags."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from runstream_common.errors import InvalidArgument
from runstream_common.search.parser import parse_filter
from runstream_common.violations import Violations

from runstream_registry import rules
from runstream_registry.entities import (
    IS_PROMPT_TAG,
    PROMPT_CONTENT_TAGS,
    PROMPT_TEXT_TAG,
    NewVersion,
)
from runstream_registry.errors import AliasNotFound, ModelNameTaken, PromptNotFound, VersionNotFound
from runstream_registry.prompts.prompt_settings import model_config_json, response_format_json
from runstream_registry.prompts.templates import Template, check_variables, stored_template
from runstream_registry.search.fields import MODEL_FIELDS
from runstream_registry.store import model_queries, prompt_queries, version_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.database import Database

    from runstream_registry.entities import Model, Selector, Version
    from runstream_registry.models.versions import Versions
    from runstream_registry.search.searches import Search, Searches

TYPE_TAG: Final = "_mlflow_prompt_type"
RESPONSE_FORMAT_TAG: Final = "_mlflow_prompt_response_format"
MODEL_CONFIG_TAG: Final = "_mlflow_prompt_model_config"
TEXT_TYPE: Final = "text"
CHAT_TYPE: Final = "chat"
SOURCE: Final = "prompt-template"
"""What MLflow's server wants as the source of a prompt version."""

ONLY_PROMPTS: Final = f"tags.`{IS_PROMPT_TAG}` = 'true'"

MAX_ROLE_LENGTH: Final = 64
MAX_PAGE_CHARS: Final = 8_000_000
"""A page of versions ends with the one whose tags reach this size."""

_TRAILING_AND: Final = re.compile(r"\sAND\s*$", re.IGNORECASE)
"""Accepted at the end of a filter (MLflow), but not before a parenthesis."""

_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]+")
"""MLflow's `PROMPT_NAME_RULE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPromptVersion:
    """What a prompt version is made from, as the caller gave it."""

    name: str
    template: Template
    actor: str
    expected_variables: Sequence[str] = ()
    model_config: Mapping[str, Any] = field(default_factory=dict)
    response_format: Mapping[str, Any] = field(default_factory=dict)
    commit_message: str = ""
    tags: Sequence[tuple[str, str]] = ()
    prompt_tags: Sequence[tuple[str, str]] = ()
    version_id: str = ""


class Prompts:
    """Use cases around prompts.

    Args:
        versions: creates what holds a prompt's versions.
        searches: finds the prompts.
    """

    def __init__(self, database: Database, versions: Versions, searches: Searches) -> None:
        self._database = database
        self._versions = versions
        self._searches = searches

    async def create(self, new: NewPromptVersion) -> Version:
        """Create a version, and its prompt if there is none of that name; a repeated call with an id returns the same.

        Raises:
            InvalidArgument: something about it is wrong.
            ModelNameTaken: a registered model has the name.
        """
        try:
            version, _ = await self._versions.create(_new_version(new))
        except InvalidArgument:
            # No model has a name that the database cannot hold, and asking for it would hide what is wrong.
            if "\0" not in new.name:
                await self._refuse_model(new.name)
            raise
        return version

    async def get(self, name: str, selector: Selector) -> Version:
        """One version with everything.

        Raises:
            PromptNotFound: there is no such prompt.
            VersionNotFound, AliasNotFound: it has no such version or alias.
        """
        async with self._database.driver() as connection:
            found, version = await version_queries.select_version(connection, name, selector)
        if version is not None and version.prompt:
            return version
        if not found or version is not None:
            raise PromptNotFound(name)
        await self.require(name)
        raise _not_found(name, selector)

    async def page(self, name: str, before: int | None, limit: int) -> tuple[list[Version], bool]:
        """Versions below a number, newest first, and whether there is more.

        Raises:
            PromptNotFound: there is no such prompt.
        """
        model_id = await self.require(name)
        async with self._database.driver() as connection:
            ids, more = await prompt_queries.version_ids(
                connection, model_id, before=before, limit=limit, max_chars=MAX_PAGE_CHARS
            )
            return await version_queries.select_versions(connection, ids), more

    async def search(self, search: Search) -> tuple[list[Model], str]:
        """One page of prompts, and the token of the next; the filter is that of a search of models.

        Raises:
            InvalidArgument: see ``Searches.models``.
        """
        filter_text = ONLY_PROMPTS
        if search.filter_text:
            # By itself, so that nothing but a whole filter can stand between the parentheses.
            parse_filter(search.filter_text, MODEL_FIELDS)
            filter_text = f"({_TRAILING_AND.sub('', search.filter_text)}) AND {ONLY_PROMPTS}"
        return await self._searches.models(dataclasses.replace(search, filter_text=filter_text))

    async def require(self, name: str) -> int:
        """The id of a prompt's model.

        Raises:
            PromptNotFound: there is no such prompt.
        """
        async with self._database.driver() as connection:
            return await prompt_id(connection, name)

    async def _refuse_model(self, name: str) -> None:
        async with self._database.driver() as connection:
            model = await model_queries.select_by_name(connection, name)
        if model is not None and not model.prompt:
            raise ModelNameTaken(name, prompt=False)


async def prompt_id(connection: Connection, name: str) -> int:
    """The id of a prompt's model.

    Raises:
        PromptNotFound: there is no such prompt.
    """
    model_id = await prompt_queries.select_id(connection, name)
    if model_id is None:
        raise PromptNotFound(name)
    return model_id


def _not_found(name: str, selector: Selector) -> Exception:
    alias = getattr(selector, "alias", None)
    if alias is None or alias.lower() == "latest":
        return VersionNotFound(name, getattr(selector, "version", "versions"))
    return AliasNotFound(name, alias)


def _new_version(new: NewPromptVersion) -> NewVersion:
    violations = Violations()
    _check_name(new.name, violations)
    _check_template(new.template, violations)
    rules.text("commit_message", new.commit_message, rules.MAX_TEXT_LENGTH, violations)
    if new.version_id:
        rules.version_id(new.version_id, violations)
    tags = {**_own_tags("tags", new.tags, violations), **_content_tags(new, violations)}
    prompt_tags = _own_tags("prompt_tags", new.prompt_tags, violations)
    violations.check()
    check_variables(new.template, new.expected_variables)
    return NewVersion(
        name=new.name,
        source=SOURCE,
        actor=new.actor,
        description=new.commit_message,
        tags=dict(sorted(tags.items())),
        version_id=new.version_id,
        create_model=True,
        model_tags=prompt_tags,
    )


def _check_name(name: str, violations: Violations) -> None:
    if not name:
        violations.add("name", "is required")
    elif not _NAME.fullmatch(name) or name in {".", ".."} or len(name) > rules.MAX_NAME_LENGTH:
        violations.add(
            "name",
            f'may hold only letters, digits, "_", "." and "-", at most {rules.MAX_NAME_LENGTH} of them',
        )


def _check_template(template: Template, violations: Violations) -> None:
    if template.text is None and not template.messages:
        violations.add("template", "needs a text, or a chat with at least one message")
        return
    if template.text == "":
        violations.add("template.text", "is required")
    for index, message in enumerate(template.messages):
        if not 1 <= len(message.role) <= MAX_ROLE_LENGTH:
            violations.add(
                f"template.chat.messages[{index}].role", f"needs 1 to {MAX_ROLE_LENGTH} characters"
            )
    rules.text("template", template.stored, rules.MAX_TEXT_LENGTH, violations)


def _content_tags(new: NewPromptVersion, violations: Violations) -> dict[str, str]:
    tags = {
        IS_PROMPT_TAG: "true",
        PROMPT_TEXT_TAG: new.template.stored,
        TYPE_TAG: CHAT_TYPE if new.template.text is None else TEXT_TYPE,
        MODEL_CONFIG_TAG: model_config_json(new.model_config, violations),
        RESPONSE_FORMAT_TAG: response_format_json(new.response_format, violations),
    }
    rules.text("model_config", tags[MODEL_CONFIG_TAG], rules.MAX_TEXT_LENGTH, violations)
    rules.text("response_format", tags[RESPONSE_FORMAT_TAG], rules.MAX_TEXT_LENGTH, violations)
    return {key: value for key, value in tags.items() if value}


def _own_tags(field_name: str, pairs: Sequence[tuple[str, str]], violations: Violations) -> dict[str, str]:
    for index, (key, _) in enumerate(pairs):
        if key in PROMPT_CONTENT_TAGS:
            violations.add(f"{field_name}[{index}].key", f"{key!r} holds the prompt itself")
    return rules.tags(pairs, violations, field=field_name)


def template_of(version: Version) -> tuple[Template, str, str]:
    """What the tags of a version hold: template, model config and response format, the last two as JSON or empty."""
    tags = version.tags
    template = stored_template(tags.get(PROMPT_TEXT_TAG, ""), chat=tags.get(TYPE_TAG) == CHAT_TYPE)
    return template, tags.get(MODEL_CONFIG_TAG, ""), tags.get(RESPONSE_FORMAT_TAG, "")

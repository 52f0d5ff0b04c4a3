"""Compares two versions of a prompt."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_registry.entities import ByNumber
from runstream_registry.prompts.prompts import template_of
from runstream_registry.prompts.text_diff import unified_diff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_registry.entities import Version
    from runstream_registry.prompts.prompts import Prompts


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """What the newer version has that the older one has not, and the other way round; diffs are empty when equal."""

    template_diff: str
    added_variables: Sequence[str]
    removed_variables: Sequence[str]
    model_config_diff: str
    response_format_diff: str


async def diff_versions(prompts: Prompts, name: str, older: int, newer: int) -> PromptDiff:
    """Compare two versions.

    Raises:
        PromptNotFound, VersionNotFound: there is none.
    """
    before = await prompts.get(name, ByNumber(older))
    after = await prompts.get(name, ByNumber(newer))
    # In a thread: two long texts may take a second.
    return await asyncio.to_thread(_diff, before, after)


def _diff(before: Version, after: Version) -> PromptDiff:
    names = (f"{before.name}/{before.version}", f"{after.name}/{after.version}")
    old_template, old_config, old_format = template_of(before)
    new_template, new_config, new_format = template_of(after)
    old_variables, new_variables = old_template.variables, new_template.variables
    return PromptDiff(
        template_diff=unified_diff(old_template.lines, new_template.lines, names=names),
        added_variables=[name for name in new_variables if name not in old_variables],
        removed_variables=[name for name in old_variables if name not in new_variables],
        model_config_diff=unified_diff(_json_lines(old_config), _json_lines(new_config), names=names),
        response_format_diff=unified_diff(_json_lines(old_format), _json_lines(new_format), names=names),
    )


def _json_lines(text: str) -> list[str]:
    """One value a line, keys in order; text that is no JSON as it is."""
    try:
        content = json.loads(text) if text else None
    except ValueError:
        return text.splitlines()
    return json.dumps(content, indent=2, sort_keys=True).splitlines() if text else []

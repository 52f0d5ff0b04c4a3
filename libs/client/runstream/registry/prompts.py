"""`client.prompts`: prompts and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.query.client_calls import Wait
from runstream.query.client_sending import Namespace
from runstream.registry import flows_promotions, flows_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runstream.registry.flows_prompts import TemplateLike
    from runstream.registry.results_promotions import PromotionOutcome
    from runstream.registry.results_prompts import (
        Prompt,
        PromptDiff,
        PromptLink,
        PromptVersion,
        RenderedPrompt,
    )


class Prompts(Namespace):
    """Prompts with immutable versions. Where a method takes `version: int | str`, it is a number, "3", "@alias" or "latest"."""

    def register(
        self,
        name: str,
        template: TemplateLike,
        *,
        expected_variables: Sequence[str] = (),
        model_config: Mapping[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        commit_message: str = "",
        tags: Mapping[str, object] | None = None,
        prompt_tags: Mapping[str, object] | None = None,
    ) -> PromptVersion:
        """Create the next version of a prompt, and the prompt if there is none.

        Args:
            name: letters, digits, "_", "." and "-".
            template: text, or messages with role and content, with {{variables}}.
            expected_variables: variables that the template must have, and no others; empty means unchecked.
            model_config: model and its parameters, e.g. {"model_name": …, "temperature": 0.2}.
            response_format: JSON schema of the answer.
            commit_message: why it was made.
            tags: tags of the version.
            prompt_tags: tags of the prompt, set when it is created.
        """
        return self._run(
            flows_prompts.create_version(
                name,
                template,
                expected_variables=expected_variables,
                model_config=model_config,
                response_format=response_format,
                commit_message=commit_message,
                tags=tags,
                prompt_tags=prompt_tags,
            )
        )

    def get(self, name: str, version: int | str | None = None, *, alias: str = "") -> PromptVersion:
        """Read a version by number or alias; the newest one when neither is given."""
        chosen = "latest" if version is None and not alias else version
        return self._run(flows_prompts.get_version(name, chosen, alias))

    def render(
        self,
        name: str,
        variables: Mapping[str, object],
        *,
        version: int | str | None = None,
        alias: str = "",
    ) -> RenderedPrompt:
        """Let the service fill a version's template; `PromptVersion.format` does it without a call."""
        chosen = "latest" if version is None and not alias else version
        return self._run(flows_prompts.render(name, chosen, alias, variables))

    def search(
        self, filter_string: str = "", *, order_by: Sequence[str] = (), page_size: int = 0
    ) -> Iterator[Prompt]:
        """Iterate over prompts; pages are read as they are needed. See `client.models.search`."""
        request = flows_prompts.search_request(filter_string, order_by, page_size)
        return self._pages(request, flows_prompts.prompt_page)

    def versions(self, name: str, *, page_size: int = 0) -> Iterator[PromptVersion]:
        """Iterate over the versions of a prompt, newest first."""
        return self._pages(flows_prompts.versions_request(name, page_size), flows_prompts.version_page)

    def diff(self, name: str, before: int | str, after: int | str) -> PromptDiff:
        """Compare two versions."""
        return self._run(flows_prompts.diff(name, before, after))

    def link(self, name: str, version: int | str, *, run_id: str = "", trace_id: str = "") -> None:
        """Note that a run or trace used a version; repeating it is harmless."""
        self._run(flows_prompts.link(name, version, run_id=run_id, trace_id=trace_id))

    def links(
        self, name: str = "", *, version: int = 0, run_id: str = "", trace_id: str = "", page_size: int = 0
    ) -> Iterator[PromptLink]:
        """Iterate over what used a prompt, or which prompts a run or trace used, newest first."""
        request = flows_prompts.links_request(name, version, run_id, trace_id, page_size)
        return self._pages(request, flows_prompts.link_page)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int | str,
        *,
        reason: str = "",
        expected_current: int | None = None,
    ) -> PromotionOutcome:
        """Move an alias to a version: a promotion, with its gates; see `client.models.promote`."""
        return self._run(
            flows_promotions.promote(
                name,
                version,
                alias,
                "",
                reason=reason,
                expected_current=expected_current,
                dry_run=False,
                archive_existing=False,
                request_id="",
                wait=Wait(),
            )
        )

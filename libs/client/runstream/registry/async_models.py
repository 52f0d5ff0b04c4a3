"""`client.models`, awaited: the methods of `models`, described there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.registry import flows_diff, flows_models
from runstream.registry.async_promotions import AsyncPromotions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from runstream.registry.results import (
        Lineage,
        ModelVersion,
        ParentVersion,
        RegisteredModel,
        ResolvedVersion,
    )
    from runstream.registry.results_diff import ModelDiff


class AsyncModels(AsyncPromotions):
    """See `Models`."""

    # Models

    async def create(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, object] | None = None,
        get_if_exists: bool = False,
    ) -> RegisteredModel:
        """Create a model without versions."""
        return await self._run(
            flows_models.create_model(name, description, tags, get_if_exists=get_if_exists)
        )

    async def get(self, name: str) -> RegisteredModel:
        """Read one model; raises NotFound."""
        return await self._run(flows_models.get_model(name))

    async def update(self, name: str, *, description: str) -> RegisteredModel:
        """Change the description; empty clears it."""
        return await self._run(flows_models.update_model(name, description))

    async def rename(self, name: str, new_name: str) -> RegisteredModel:
        """Give a model another name; versions, tags, aliases and history go along."""
        return await self._run(flows_models.rename_model(name, new_name))

    async def delete(self, name: str) -> None:
        """Delete a model with its versions; the name is free at once."""
        await self._run(flows_models.delete_model(name))

    def search(
        self, filter_string: str = "", *, order_by: Sequence[str] = (), page_size: int = 0
    ) -> AsyncIterator[RegisteredModel]:
        """Iterate over models; pages are read as they are needed. Prompts are left out."""
        request = flows_models.search_models_request(filter_string, order_by, page_size)
        return self._pages(request, flows_models.model_page)

    async def set_tags(
        self, name: str, tags: Mapping[str, object], *, version: int | str | None = None
    ) -> None:
        """Set tags of a model, or of one of its versions; values are made text."""
        await self._run(flows_models.set_tags(name, tags, version))

    async def delete_tags(self, name: str, keys: Iterable[str], *, version: int | str | None = None) -> None:
        """Delete tags of a model, or of one of its versions; a missing one is harmless."""
        await self._run(flows_models.delete_tags(name, keys, version))

    # Versions

    async def create_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str = "",
        logged_model_id: str = "",
        run_link: str = "",
        description: str = "",
        tags: Mapping[str, object] | None = None,
        signature: Any = None,
        flavors: Any = None,
        parents: Sequence[ParentVersion] = (),
        version_id: str = "",
        create_model: bool = False,
    ) -> ModelVersion:
        """Create the next version of a model. Files of ours are copied by reference and can no longer change."""
        return await self._run(
            flows_models.create_version(
                name,
                source,
                run_id=run_id,
                logged_model_id=logged_model_id,
                run_link=run_link,
                description=description,
                tags=tags,
                signature=signature,
                flavors=flavors,
                parents=parents,
                version_id=version_id,
                create_model=create_model,
            )
        )

    async def get_version(
        self, name: str, version: int | str | None = None, *, alias: str = "", stage: str = ""
    ) -> ModelVersion:
        """Read one version by number, alias or stage (its highest version); exactly one is given."""
        return await self._run(flows_models.get_version(name, version, alias, stage))

    async def update_version(
        self,
        name: str,
        version: int | str,
        *,
        description: str | None = None,
        signature: Any = None,
        flavors: Any = None,
        status: str = "",
    ) -> ModelVersion:
        """Change what is given."""
        return await self._run(
            flows_models.update_version(
                name, version, description=description, signature=signature, flavors=flavors, status=status
            )
        )

    async def delete_version(self, name: str, version: int | str) -> None:
        """Delete a version and its aliases; its number is not used again."""
        await self._run(flows_models.delete_version(name, version))

    def search_versions(
        self, filter_string: str = "", *, order_by: Sequence[str] = (), page_size: int = 0
    ) -> AsyncIterator[ModelVersion]:
        """Iterate over versions; pages are read as they are needed. Prompts are left out."""
        request = flows_models.search_versions_request(filter_string, order_by, page_size)
        return self._pages(request, flows_models.version_page)

    async def latest_versions(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]:
        """The highest version of each stage, or of the given ones."""
        return await self._run(flows_models.latest_versions(name, stages))

    async def resolve(
        self, name: str, version: int | str | None = None, *, alias: str = "", stage: str = ""
    ) -> ResolvedVersion:
        """Where a number, alias or stage points and where the files are: the call for serving systems."""
        return await self._run(flows_models.resolve(name, version, alias, stage))

    async def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; a missing one is harmless. `promote` sets one."""
        await self._run(flows_models.delete_alias(name, alias))

    async def lineage(self, name: str, version: int | str, *, depth: int = 0) -> Lineage:
        """Where a version came from and where it went."""
        return await self._run(flows_models.lineage(name, version, depth))

    async def diff(
        self, name: str, before: int | str, after: int | str, *, other_name: str = ""
    ) -> ModelDiff:
        """What differs between two versions: metrics, params, signature, flavors, tags and files."""
        return await self._run(flows_diff.diff(name, before, after, other_name=other_name))

    async def record_evaluation(
        self,
        name: str,
        version: int | str,
        evaluation: str,
        *,
        passed: bool,
        summary: str = "",
        url: str = "",
    ) -> None:
        """Record the outcome of an evaluation, for gates that ask for one."""
        await self._run(
            flows_models.record_evaluation(name, version, evaluation, passed=passed, summary=summary, url=url)
        )

"""`client.models`: registered models, their versions, and where they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream.registry import flows_diff, flows_models
from runstream.registry.promotions import Promotions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runstream.registry.results import (
        Lineage,
        ModelVersion,
        ParentVersion,
        RegisteredModel,
        ResolvedVersion,
    )
    from runstream.registry.results_diff import ModelDiff


class Models(Promotions):
    """Registered models and versions; promotions, policies and the audit trail come from `Promotions`.

    Where a method takes `version: int | str`, it is a number, "3", "@alias" or "latest".
    """

    # Models

    def create(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, object] | None = None,
        get_if_exists: bool = False,
    ) -> RegisteredModel:
        """Create a model without versions.

        Args:
            name: unique among models and prompts; no "/" and no ":", at most 2,000 bytes as UTF-8.
            description: free text.
            tags: initial tags.
            get_if_exists: return the model of that name instead of raising AlreadyExists.
        """
        return self._run(flows_models.create_model(name, description, tags, get_if_exists=get_if_exists))

    def get(self, name: str) -> RegisteredModel:
        """Read one model; raises NotFound."""
        return self._run(flows_models.get_model(name))

    def update(self, name: str, *, description: str) -> RegisteredModel:
        """Change the description; empty clears it."""
        return self._run(flows_models.update_model(name, description))

    def rename(self, name: str, new_name: str) -> RegisteredModel:
        """Give a model another name; versions, tags, aliases and history go along."""
        return self._run(flows_models.rename_model(name, new_name))

    def delete(self, name: str) -> None:
        """Delete a model with its versions; the name is free at once."""
        self._run(flows_models.delete_model(name))

    def search(
        self, filter_string: str = "", *, order_by: Sequence[str] = (), page_size: int = 0
    ) -> Iterator[RegisteredModel]:
        """Iterate over models; pages are read as they are needed. Prompts are left out.

        Args:
            filter_string: filter of docs/search.md, e.g. "name LIKE 'fraud%' AND tags.team = 'risk'".
            order_by: "ident [ASC|DESC]" items; default name.
            page_size: models a page, 1 to 1,000; 0 means 100.
        """
        request = flows_models.search_models_request(filter_string, order_by, page_size)
        return self._pages(request, flows_models.model_page)

    def set_tags(self, name: str, tags: Mapping[str, object], *, version: int | str | None = None) -> None:
        """Set tags of a model, or of one of its versions; values are made text."""
        self._run(flows_models.set_tags(name, tags, version))

    def delete_tags(self, name: str, keys: Iterable[str], *, version: int | str | None = None) -> None:
        """Delete tags of a model, or of one of its versions; a missing one is harmless."""
        self._run(flows_models.delete_tags(name, keys, version))

    # Versions

    def create_version(
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
        """Create the next version of a model. Files of ours are copied by reference and can no longer change.

        Args:
            name: model.
            source: "runs:/<run id>/<path>", "models:/<name>/<version>", or a URI of another store.
            run_id: run that made it; taken from the source when that names one.
            logged_model_id: logged model that it is.
            run_link: link to the run when it is in another deployment.
            description: free text.
            tags: initial tags.
            signature: as in MLflow's MLmodel, an object or its JSON; None reads the MLmodel file among the artifacts.
            flavors: likewise.
            parents: versions that it was made from; they must exist.
            version_id: id to use, 32 lowercase hexadecimal characters; the same one again returns the same version.
            create_model: create the model when there is none of that name.
        """
        return self._run(
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

    def get_version(
        self, name: str, version: int | str | None = None, *, alias: str = "", stage: str = ""
    ) -> ModelVersion:
        """Read one version by number, alias or stage (its highest version); exactly one is given."""
        return self._run(flows_models.get_version(name, version, alias, stage))

    def update_version(
        self,
        name: str,
        version: int | str,
        *,
        description: str | None = None,
        signature: Any = None,
        flavors: Any = None,
        status: str = "",
    ) -> ModelVersion:
        """Change what is given.

        Args:
            name: model.
            version: see the class.
            description: empty clears it.
            signature: an object or its JSON.
            flavors: an object or its JSON.
            status: "PENDING", "READY" or "FAILED".
        """
        return self._run(
            flows_models.update_version(
                name, version, description=description, signature=signature, flavors=flavors, status=status
            )
        )

    def delete_version(self, name: str, version: int | str) -> None:
        """Delete a version and its aliases; its number is not used again."""
        self._run(flows_models.delete_version(name, version))

    def search_versions(
        self, filter_string: str = "", *, order_by: Sequence[str] = (), page_size: int = 0
    ) -> Iterator[ModelVersion]:
        """Iterate over versions; pages are read as they are needed. Prompts are left out.

        Args:
            filter_string: filter of docs/search.md, e.g. "name = 'fraud' AND tags.reviewed = 'yes'".
            order_by: "ident [ASC|DESC]" items; default the one changed last first.
            page_size: versions a page, 1 to 10,000; 0 means 1,000.
        """
        request = flows_models.search_versions_request(filter_string, order_by, page_size)
        return self._pages(request, flows_models.version_page)

    def latest_versions(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]:
        """The highest version of each stage, or of the given ones."""
        return self._run(flows_models.latest_versions(name, stages))

    def resolve(
        self, name: str, version: int | str | None = None, *, alias: str = "", stage: str = ""
    ) -> ResolvedVersion:
        """Where a number, alias or stage points and where the files are: the call for serving systems."""
        return self._run(flows_models.resolve(name, version, alias, stage))

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; a missing one is harmless. `promote` sets one."""
        self._run(flows_models.delete_alias(name, alias))

    def lineage(self, name: str, version: int | str, *, depth: int = 0) -> Lineage:
        """Where a version came from and where it went.

        Args:
            name: model.
            version: see the class.
            depth: generations of ancestors and descendants, 1 to 20; 0 means 5.
        """
        return self._run(flows_models.lineage(name, version, depth))

    def diff(self, name: str, before: int | str, after: int | str, *, other_name: str = "") -> ModelDiff:
        """What differs between two versions: metrics, params, signature, flavors, tags and files.

        Args:
            name: model.
            before: first version, see the class.
            after: second version.
            other_name: model of the second version, when it is another one.
        """
        return self._run(flows_diff.diff(name, before, after, other_name=other_name))

    def record_evaluation(
        self,
        name: str,
        version: int | str,
        evaluation: str,
        *,
        passed: bool,
        summary: str = "",
        url: str = "",
    ) -> None:
        """Record the outcome of an evaluation, for gates that ask for one.

        Args:
            name: model.
            version: see the class.
            evaluation: name of the evaluation, e.g. "regression-suite".
            passed: whether it passed.
            summary: free text.
            url: link to the report.
        """
        self._run(
            flows_models.record_evaluation(name, version, evaluation, passed=passed, summary=summary, url=url)
        )

"""Reads a whole MLflow deployment through MLflow's own client, in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY

from runstream.migration.files import FileReader
from runstream.migration.histories import DatabaseHistories, StoreHistories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from runstream_contract.columns import Series

    from runstream.migration.histories import HistoryReader

PAGE_EXPERIMENTS = 1_000
PAGE_RUNS = 200
PAGE_MODELS = 100
PAGE_VERSIONS = 1_000


class MlflowSource:
    """One MLflow deployment; thread-safe as MLflow's stores are.

    Args:
        uri: see `addresses.mlflow_uri`.
        artifacts_root: see `FileReader`.
    """

    def __init__(self, uri: str, artifacts_root: str = "") -> None:
        self.uri = uri
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._store: Any = client._tracking_client.store  # noqa: SLF001 - the client hides prompts and fills in models
        self._registry: Any = client._get_registry_client().store  # noqa: SLF001
        self._files = FileReader(uri, artifacts_root)
        engine = getattr(self._store, "engine", None)
        self._histories: HistoryReader = (
            StoreHistories(self._store) if engine is None else DatabaseHistories(engine)
        )

    def experiments(self) -> Iterator[Experiment]:
        """All experiments, deleted ones too, oldest first."""
        return _pages(
            lambda token: self._store.search_experiments(
                view_type=ViewType.ALL,
                max_results=PAGE_EXPERIMENTS,
                order_by=["creation_time ASC", "experiment_id ASC"],
                page_token=token,
            )
        )

    def run(self, run_id: str) -> Run:
        """A run with everything but histories and files; a search leaves out models that it used."""
        return self._store.get_run(run_id)

    def run_summaries(self, experiment_id: str, *, deleted_only: bool = False) -> Iterator[Run]:
        """Runs of an experiment, oldest first: all, or the deleted ones."""
        view = ViewType.DELETED_ONLY if deleted_only else ViewType.ALL
        return _pages(
            lambda token: self._store.search_runs(
                [experiment_id],
                "",
                view,
                max_results=PAGE_RUNS,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
        )

    def histories(self, run: Run) -> Iterator[Series]:
        """Every point of a run."""
        return self._histories.read(run)

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """Logged models of an experiment; MLflow shows no deleted ones."""
        return _pages(
            lambda token: self._store.search_logged_models(
                [experiment_id], max_results=PAGE_MODELS, page_token=token
            )
        )

    def models(self) -> Iterator[RegisteredModel]:
        """Registered models, then prompts."""
        yield from self._models_where(f"tags.`{IS_PROMPT_TAG_KEY}` != 'true'")
        yield from self._models_where(f"tags.`{IS_PROMPT_TAG_KEY}` = 'true'")

    def _models_where(self, where: str) -> Iterator[RegisteredModel]:
        return _pages(
            lambda token: self._registry.search_registered_models(
                filter_string=where, max_results=PAGE_MODELS, order_by=["name ASC"], page_token=token
            )
        )

    def versions(self, model: RegisteredModel) -> list[ModelVersion]:
        """The versions of a model or prompt, ascending."""
        # MLflow's grammar has no escape inside of quotes, but two kinds of them.
        quote = '"' if "'" in model.name else "'"
        where = f"name = {quote}{model.name}{quote}"
        if is_prompt(model):
            where += f" AND tags.`{IS_PROMPT_TAG_KEY}` = 'true'"
        found = _pages(
            lambda token: self._registry.search_model_versions(
                filter_string=where, max_results=PAGE_VERSIONS, page_token=token
            )
        )
        return sorted(found, key=lambda version: int(version.version))

    def files(self, artifact_uri: str) -> Iterator[Path]:
        """See `FileReader.batches`."""
        return self._files.batches(artifact_uri)


def is_prompt(model: RegisteredModel) -> bool:
    """Whether a registered model is a prompt."""
    tags = getattr(model, "_tags", None) or {}
    return str(tags.get(IS_PROMPT_TAG_KEY, "")).lower() == "true"


def _pages(read: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = read(token)
        yield from page
        token = page.token
        if not token:
            return

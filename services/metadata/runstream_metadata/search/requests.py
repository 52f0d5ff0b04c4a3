"""What a search is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_metadata.entities import LifecycleStage, ViewType

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PAGE_SIZE = 1_000
"""Results of a page when the request does not say."""

DEFAULT_LOGGED_MODEL_PAGE_SIZE = 50
"""Logged models of a page when the request does not say (MLflow)."""

MAX_PAGE_SIZE = 50_000
"""Most results of a page (MLflow `SEARCH_MAX_RESULTS_THRESHOLD`)."""

MAX_EXPERIMENTS = 1_000
"""Most experiments of one search of runs."""

_STAGES = {
    ViewType.ACTIVE_ONLY: (LifecycleStage.ACTIVE,),
    ViewType.DELETED_ONLY: (LifecycleStage.DELETED,),
    ViewType.ALL: (LifecycleStage.ACTIVE, LifecycleStage.DELETED),
}


@dataclass(frozen=True, slots=True)
class RunSearch:
    """A search of runs.

    Args:
        experiment_ids: where to look, at most MAX_EXPERIMENTS; unknown ones have no runs.
        filter_text: grammar of docs/search.md; empty means all.
        order_by: "ident [ASC|DESC]" items; ties are broken by start_time DESC, run_id ASC.
        page_size: 1 to MAX_PAGE_SIZE; 0 means DEFAULT_PAGE_SIZE.
        page_token: of the previous page; empty for the first.
        mlflow_strict: refuse what MLflow's grammar does not have: OR, NOT and parentheses.
    """

    experiment_ids: Sequence[int]
    filter_text: str = ""
    order_by: Sequence[str] = ()
    view_type: ViewType = ViewType.ACTIVE_ONLY
    page_size: int = 0
    page_token: str = ""
    mlflow_strict: bool = False


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page: ids in the asked order; the token is empty on the last page."""

    run_ids: tuple[str, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentSearch:
    """A search of experiments; arguments as in RunSearch. Default order: creation_time DESC, experiment_id DESC."""

    filter_text: str = ""
    order_by: Sequence[str] = ()
    view_type: ViewType = ViewType.ACTIVE_ONLY
    page_size: int = 0
    page_token: str = ""
    mlflow_strict: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentPage:
    """One page: ids in the asked order; the token is empty on the last page."""

    experiment_ids: tuple[int, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class DatasetScope:
    """A dataset that metrics of logged models are limited to; an empty digest means any."""

    name: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModelOrder:
    """One sort key of logged models: an attribute, or "metrics.<key>", then with an optional dataset."""

    field_name: str
    descending: bool = False
    dataset: DatasetScope | None = None


@dataclass(frozen=True, slots=True)
class LoggedModelSearch:
    """A search of logged models that are in use.

    Args:
        experiment_ids: where to look, at most MAX_EXPERIMENTS; unknown ones have no models.
        filter_text: MLflow's grammar; empty means all.
        datasets: what clauses about metrics are limited to; without such a clause, a model needs a point of one.
        order_by: ties are broken by creation time, newest first, then by model id.
        page_size: 1 to MAX_PAGE_SIZE; 0 means DEFAULT_LOGGED_MODEL_PAGE_SIZE.
        page_token: of the previous page; empty for the first.
    """

    experiment_ids: Sequence[int]
    filter_text: str = ""
    datasets: Sequence[DatasetScope] = ()
    order_by: Sequence[LoggedModelOrder] = ()
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModelPage:
    """One page: ids in the asked order; the token is empty on the last page."""

    model_ids: tuple[str, ...]
    next_page_token: str = ""


def lifecycle_stages(view_type: ViewType) -> tuple[LifecycleStage, ...]:
    """The stages that a view shows."""
    return _STAGES[view_type]

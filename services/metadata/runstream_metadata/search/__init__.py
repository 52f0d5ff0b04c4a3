"""Search of runs, experiments and logged models: MLflow's filter grammar, for the first two with OR, NOT and parentheses.

Each function answers ids and a page token; see docs/search.md.
"""

from runstream_metadata.search.logged_model_search import search_logged_models
from runstream_metadata.search.requests import (
    DatasetScope,
    ExperimentPage,
    ExperimentSearch,
    LoggedModelOrder,
    LoggedModelPage,
    LoggedModelSearch,
    RunPage,
    RunSearch,
)
from runstream_metadata.search.searches import search_experiments, search_runs

__all__ = [
    "DatasetScope",
    "ExperimentPage",
    "ExperimentSearch",
    "LoggedModelOrder",
    "LoggedModelPage",
    "LoggedModelSearch",
    "RunPage",
    "RunSearch",
    "search_experiments",
    "search_logged_models",
    "search_runs",
]

"""Search of runs and experiments: MLflow's filter grammar with OR, NOT and parentheses.

``search_runs`` and ``search_experiments`` answer ids and a page token; see docs/search.md.
"""

from runstream_metadata.search.requests import ExperimentPage, ExperimentSearch, RunPage, RunSearch
from runstream_metadata.search.searches import search_experiments, search_runs

__all__ = [
    "ExperimentPage",
    "ExperimentSearch",
    "RunPage",
    "RunSearch",
    "search_experiments",
    "search_runs",
]

"""What a migration would carry over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runstream.migration.migration import chosen_experiments, chosen_models

if TYPE_CHECKING:
    from runstream.migration.migration import Scope
    from runstream.migration.source import MlflowSource


def count(source: MlflowSource, scope: Scope) -> Counter[str]:
    """Experiments, runs, metric keys, params, tags, logged models, models and versions, without files and histories.

    Raises:
        InvalidArgument: an experiment that was asked for does not exist.
    """
    counts: Counter[str] = Counter()
    for experiment in chosen_experiments(source, scope):
        counts["experiments"] += 1
        for run in source.run_summaries(experiment.experiment_id):
            counts["runs"] += 1
            counts["metrics"] += len(run.data.metrics)
            counts["params"] += len(run.data.params)
            counts["tags"] += len(run.data.tags)
        counts["logged models"] += sum(1 for _ in source.logged_models(experiment.experiment_id))
    if scope.registry:
        for model in chosen_models(source, scope):
            counts["models"] += 1
            counts["versions"] += len(source.versions(model))
    return counts

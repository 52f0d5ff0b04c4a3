"""Carries a whole deployment over: experiments with their runs and logged models, then the registry."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from runstream_common.errors import InvalidArgument, PlatformError, Unavailable

from runstream.migration.files import Inventory
from runstream.migration.journal import Entry
from runstream.migration.mlflow_shapes import counts_of, model_status
from runstream.migration.moved import RESERVED_RUN, Moved
from runstream.migration.target import Placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import RegisteredModel

    from runstream.migration.files import FileFact
    from runstream.migration.journal import Journal
    from runstream.migration.report import Report
    from runstream.migration.source import MlflowSource
    from runstream.migration.target import Target

EXPERIMENT, RUN, LOGGED_MODEL, MODEL = "experiment", "run", "logged_model", "model"
"""Kinds of the journal's entries."""

RUNS_AT_ONCE = 4
"""Runs that are carried over in parallel."""
WAITING_RUNS = 64
"""Runs that are read ahead; bounds memory."""
POINTS_PER_WRITE = 131_072
MAX_FAILURES_IN_A_ROW = 25
"""Then the source is broken, or away, rather than so many of its items."""
ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})

# What the two sides may say of one item, after which the next one is tried. That a service is away for long is no such thing.
_REFUSALS = (MlflowException, PlatformError, OSError, ValueError, KeyError)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is carried over.

    Attributes:
        experiments: names; empty means all.
        files: whether files are.
        registry: whether registered models and prompts are.
        models: names of models and prompts; empty means all.
        workers: runs at once.
    """

    experiments: frozenset[str] = frozenset()
    files: bool = True
    registry: bool = True
    workers: int = RUNS_AT_ONCE
    models: frozenset[str] = frozenset()


def chosen_experiments(source: MlflowSource, scope: Scope) -> Iterator[Experiment]:
    """The experiments in the scope.

    Raises:
        InvalidArgument: one that was asked for does not exist.
    """
    missing = set(scope.experiments)
    for experiment in source.experiments():
        if not scope.experiments or experiment.name in missing:
            missing.discard(experiment.name)
            yield experiment
    if missing:
        raise InvalidArgument.of("--experiment", f"there is none of the name {sorted(missing)}")


def chosen_models(source: MlflowSource, scope: Scope) -> Iterator[RegisteredModel]:
    """The registered models and prompts in the scope.

    Raises:
        InvalidArgument: one that was asked for does not exist.
    """
    missing = set(scope.models)
    for model in source.models():
        if not scope.models or model.name in missing:
            missing.discard(model.name)
            yield model
    if missing:
        raise InvalidArgument.of("--model", f"there is none of the name {sorted(missing)}")


class Migration:
    """One call of the importer or exporter.

    Args:
        source: what is read.
        target: what is written.
        journal: what was done by earlier calls.
        report: where this call's doings are counted.
        scope: what is carried over.
    """

    def __init__(
        self, source: MlflowSource, target: Target, journal: Journal, report: Report, scope: Scope
    ) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._report = report
        self._scope = scope
        self._moved = Moved(journal)
        self._failures_in_a_row = 0

    def run(self) -> None:
        """Carry everything over.

        Raises:
            InvalidArgument: an experiment that was asked for does not exist.
            PlatformError: the target is away.
        """
        for experiment in list(chosen_experiments(self._source, self._scope)):
            self._carry_experiment(experiment)
        if self._scope.registry:
            for model in chosen_models(self._source, self._scope):
                self._guarded(f"model {model.name!r}", self._carry_model, model)

    def _carry_experiment(self, experiment: Experiment) -> None:
        known = self._journal.get(EXPERIMENT, experiment.experiment_id)
        placed = self._target.put_experiment(experiment)
        if known is not None:
            placed = Placed(placed.id, bool(known.facts.get("created")), placed.artifact_uri)
        facts = {"created": placed.created, "name": experiment.name, "stage": experiment.lifecycle_stage}
        self._journal.put(EXPERIMENT, Entry(experiment.experiment_id, placed.id, False, facts))
        self._report.experiment_ids[experiment.experiment_id] = placed.id
        if not placed.created and known is None:
            self._report.note(
                f"experiment {experiment.name!r} was there already as {placed.id}: its runs were added to it"
            )
        if self._target.renumbers:
            self._reserve_runs(experiment, placed)
            self._carry_logged_models(experiment, placed)
            self._carry_runs(experiment, placed)
        else:
            self._carry_runs(experiment, placed)
            self._carry_logged_models(experiment, placed)
        self._delete_runs(experiment)
        self._target.finish_experiment(experiment, placed)
        self._report.add("experiments")

    def _reserve_runs(self, experiment: Experiment, placed: Placed) -> None:
        """Give every run its id first: logged models name runs, and runs name logged models."""
        for run in self._source.run_summaries(experiment.experiment_id):
            if self._journal.get(RESERVED_RUN, run.info.run_id) is None:
                reserved = self._target.reserve_run(run, placed.id)
                self._journal.put(RESERVED_RUN, Entry(run.info.run_id, reserved.id, True, {}))

    def _carry_runs(self, experiment: Experiment, placed: Placed) -> None:
        pending: set[Future[None]] = set()
        with ThreadPoolExecutor(self._scope.workers, thread_name_prefix="runstream-migration") as pool:
            for summary in self._source.run_summaries(experiment.experiment_id):
                known = self._journal.get(RUN, summary.info.run_id)
                if known is not None and known.final:
                    self._report.skip("runs")
                    continue
                if len(pending) >= WAITING_RUNS:
                    pending = _raise_first(pending)
                pending.add(
                    pool.submit(self._guarded, f"run {summary.info.run_id}", self._carry_run, summary, placed)
                )
            while pending:
                pending = _raise_first(pending)

    def _delete_runs(self, experiment: Experiment) -> None:
        """Delete what was deleted; last, since a deleted run takes neither points nor those of its logged models."""
        deleted = [
            run.info.run_id for run in self._source.run_summaries(experiment.experiment_id, deleted_only=True)
        ]
        if deleted:
            self._target.settle()
        for run_id in deleted:
            self._guarded(f"run {run_id}", self._target.delete_run, self._moved.run_id(run_id))

    def _carry_run(self, summary: Run, experiment: Placed) -> None:
        run = self._source.run(summary.info.run_id)
        run_id = self._moved.run_id(run.info.run_id)
        placed = self._target.put_run(run, experiment.id, run_id, self._moved.model_ids(run))
        points = self._carry_points(run, placed.id)
        files = self._carry_files(run.info.artifact_uri, placed, self._target.put_run_files)
        self._target.finish_run(run, placed.id)
        counts = counts_of(run, points, files)
        facts = {**asdict(counts), "from_uri": run.info.artifact_uri, "to_uri": placed.artifact_uri}
        self._journal.put(RUN, Entry(run.info.run_id, placed.id, run.info.status in ENDED, facts))
        self._report.add("runs")

    def _carry_points(self, run: Run, run_id: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        group, waiting = [], 0
        for series in self._source.histories(run):
            counts[series.key] += len(series)
            group.append(series)
            waiting += len(series)
            if waiting >= POINTS_PER_WRITE:
                self._target.put_points(run_id, group)
                self._report.add("points", waiting)
                group, waiting = [], 0
        if group:
            self._target.put_points(run_id, group)
            self._report.add("points", waiting)
        return counts

    def _carry_files(
        self, artifact_uri: str | None, placed: Placed, put: Callable[[Placed, Any], list[FileFact]]
    ) -> Inventory:
        if not self._scope.files or not artifact_uri:
            return Inventory.of([])
        stored: list[FileFact] = []
        for folder in self._source.files(artifact_uri):
            batch = put(placed, folder)
            stored += batch
            self._report.add("files", len(batch))
            self._report.add("bytes", sum(file.size_bytes for file in batch))
        return Inventory.of(stored)

    def _carry_logged_models(self, experiment: Experiment, placed: Placed) -> None:
        for model in self._source.logged_models(experiment.experiment_id):
            self._guarded(f"logged model {model.model_id}", self._carry_logged_model, model, placed)

    def _carry_logged_model(self, model: LoggedModel, experiment: Placed) -> None:
        known = self._journal.get(LOGGED_MODEL, model.model_id)
        if known is not None and known.final:
            self._report.skip("logged models")
            return
        model_id = "" if known is None else known.target_id
        placed = self._target.put_logged_model(model, experiment.id, model_id, self._moved.run_ids(model))
        self._journal.put(LOGGED_MODEL, Entry(model.model_id, placed.id, False, {}))
        files = self._carry_files(model.artifact_location, placed, self._target.put_model_files)
        self._target.finish_logged_model(model, placed)
        facts = {"files": asdict(files), "from_uri": model.artifact_location, "to_uri": placed.artifact_uri}
        entry = Entry(model.model_id, placed.id, model_status(model) != "PENDING", facts)
        self._journal.put(LOGGED_MODEL, entry)
        self._report.add("logged models")

    def _carry_model(self, model: RegisteredModel) -> None:
        versions = self._source.versions(model)
        self._target.put_model(model)
        for version in versions:
            self._target.put_version(
                version,
                self._moved.source(version.source or ""),
                self._moved.run_id(version.run_id or ""),
                self._moved.model_id(version.model_id or ""),
            )
            self._report.add("versions")
        self._target.finish_model(model, versions)
        facts = {
            "tags": len(model._tags),  # noqa: SLF001 - the property leaves out the tag that makes a prompt
            "aliases": {alias: str(number) for alias, number in model.aliases.items()},
            "versions": {str(version.version): version.current_stage or "None" for version in versions},
        }
        self._journal.put(MODEL, Entry(model.name, model.name, False, facts))
        self._report.add("models")

    def _guarded(self, what: str, action: Callable[..., None], *args: Any) -> None:
        """Do something; what is refused of one item is reported, and the next one is tried."""
        try:
            action(*args)
        except _REFUSALS as error:
            if isinstance(error, PlatformError) and error.retryable:
                raise  # the target is away; a later call goes on
            self._report.problem(f"{what}: {error}")
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise Unavailable(
                    f"{self._failures_in_a_row} items in a row could not be carried over, the last one {what}: {error}"
                ) from error
        else:
            self._failures_in_a_row = 0


def _raise_first(pending: set[Future[None]]) -> set[Future[None]]:
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return left

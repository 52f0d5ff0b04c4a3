"""The client for queries, blocking. `runstream.query.async_client.AsyncClient` has the same methods to be awaited."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from runstream.query import client_metrics as metrics
from runstream.query import client_runs as runs
from runstream.query.client_calls import DEFAULT_WAIT_SECONDS
from runstream.query.client_sending import BlockingSender
from runstream.query.results import RunTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runstream.artifacts.client import Artifacts
    from runstream.query.client_calls import WaitFor
    from runstream.query.results import Experiment, MetricPoint, Run, RunComparison
    from runstream.query.results_metrics import MetricHistories, MetricHistory, MetricSummary, SampledHistory
    from runstream.registry.models import Models
    from runstream.registry.prompts import Prompts
    from runstream.registry.webhooks import Webhooks


class Client(BlockingSender):
    """Queries over experiments, runs and metrics; thread-safe.

    Reads that take `wait_for` see everything up to the given bus positions, or what the given run has sent (what it
    still holds is sent by its `flush`, whose result can be given too). Without it they see everything that this process
    has sent to the same server. They raise `NotCaughtUp` when that takes longer than `wait_seconds`. Every method raises the errors of `runstream_common.errors`.

    Args:
        url: "host:port" of any service of the deployment; None means the address given to `init`, then
            RUNSTREAM_URL, then localhost:5050.
        timeout_seconds: deadline of every call except streams.
        connection: an open connection to share; it is then not closed with the client.
    """

    @cached_property
    def artifacts(self) -> Artifacts:
        """Files of runs and model versions."""
        from runstream.artifacts.client import Artifacts  # noqa: PLC0415 - queries do not pay for HTTP

        return Artifacts(self._connection, timeout_seconds=self._timeout_seconds)

    @cached_property
    def models(self) -> Models:
        """Registered models, versions, promotions, policies and the audit trail."""
        from runstream.registry.models import Models  # noqa: PLC0415 - loaded when it is used

        return Models(self)

    @cached_property
    def prompts(self) -> Prompts:
        """Prompts and their versions."""
        from runstream.registry.prompts import Prompts  # noqa: PLC0415 - loaded when it is used

        return Prompts(self)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks and their deliveries."""
        from runstream.registry.webhooks import Webhooks  # noqa: PLC0415 - loaded when it is used

        return Webhooks(self)

    def close(self) -> None:
        """Close the channels; iterators that are under way end with an error."""
        if "artifacts" in self.__dict__:
            self.artifacts.close()
        super().close()

    # Experiments

    def create_experiment(
        self,
        name: str,
        *,
        artifact_location: str = "",
        tags: Mapping[str, str] | None = None,
        get_if_exists: bool = False,
    ) -> Experiment:
        """Create an experiment.

        Args:
            name: at most 500 characters, unique among active and deleted ones.
            artifact_location: absolute URI; empty means the deployment's default.
            tags: initial tags.
            get_if_exists: return the active experiment of that name instead of raising AlreadyExists.
        """
        return self._run(
            runs.create_experiment(name, artifact_location, tags or {}, get_if_exists=get_if_exists)
        )

    def get_experiment(self, id_or_name: str) -> Experiment:
        """Read an experiment by id or name, deleted ones too; raises NotFound."""
        return self._run(runs.get_experiment(id_or_name))

    def search_experiments(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        view: str = "active",
        page_size: int = 0,
    ) -> Iterator[Experiment]:
        """Iterate over experiments; pages are read as they are needed.

        Args:
            filter_string: filter of docs/search.md, e.g. "name LIKE 'digits%'".
            order_by: "ident [ASC|DESC]" items; default newest first.
            view: "active", "deleted" or "all".
            page_size: experiments a page, 1 to 50,000; 0 means 1,000.
        """
        request = runs.search_experiments_request(filter_string, order_by, view, page_size)
        return self._pages(request, runs.experiment_page)

    def rename_experiment(self, id_or_name: str, name: str) -> Experiment:
        """Give an active experiment another name."""
        return self._run(runs.rename_experiment(id_or_name, name))

    def delete_experiment(self, id_or_name: str) -> Experiment:
        """Mark an experiment and its runs deleted; returns it as it was."""
        return self._run(runs.delete_experiment(id_or_name))

    def restore_experiment(self, id_or_name: str) -> Experiment:
        """Restore an experiment and its runs; returns it as it was."""
        return self._run(runs.restore_experiment(id_or_name))

    def set_experiment_tags(self, id_or_name: str, tags: Mapping[str, str]) -> None:
        """Set tags of an active experiment."""
        self._run(runs.set_experiment_tags(id_or_name, tags))

    # Runs

    def get_run(
        self, run_id: str, *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> Run:
        """Read one run with its params, tags, inputs and latest metrics, deleted ones too; raises NotFound."""
        return self._run(runs.get_run(run_id, self._wait(wait_for, wait_seconds)))

    def get_runs(self, run_ids: Sequence[str]) -> RunTable:
        """Read runs in the given order; unknown ones are left out."""
        return self._run(runs.get_runs(run_ids))

    def search_runs(
        self,
        experiments: str | Sequence[str],
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        view: str = "active",
        page_size: int = 0,
        summaries_only: bool = False,
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> Iterator[Run]:
        """Iterate over runs; keyset pages are read as they are needed. `RunTable(...)` makes a table of them.

        Args:
            experiments: id or name of an experiment, or several.
            filter_string: filter of docs/search.md, e.g. "metrics.loss < 0.1 AND params.optimizer = 'adam'".
            order_by: "ident [ASC|DESC]" items; default newest first.
            view: "active", "deleted" or "all".
            page_size: runs a page, 1 to 50,000; 0 means 1,000.
            summaries_only: leave out params, tags, inputs and metrics.
            wait_for: see the class.
            wait_seconds: longest wait.
        """
        wait = self._wait(wait_for, wait_seconds)
        request = runs.search_runs_request(
            experiments, filter_string, order_by, view, page_size, wait, summaries_only=summaries_only
        )
        return self._pages(request, runs.run_pages(wait))

    def run_table(
        self,
        experiments: str | Sequence[str],
        filter_string: str = "",
        *,
        limit: int = 1000,
        order_by: Sequence[str] = (),
    ) -> RunTable:
        """The first runs of a search as a table.

        Args:
            experiments: id or name of an experiment, or several.
            filter_string: see `search_runs`.
            limit: at most this many rows, 1 or more.
            order_by: see `search_runs`.
        """
        found = self.search_runs(experiments, filter_string, order_by=order_by, page_size=min(limit, 1000))
        return RunTable(islice(found, limit))

    def compare_runs(self, run_ids: Sequence[str]) -> RunComparison:
        """Params and latest metrics of runs side by side; raises NotFound when one is unknown."""
        return self._run(runs.compare_runs(run_ids))

    def update_run(self, run_id: str, *, run_name: str | None = None, status: str | None = None) -> Run:
        """Rename a run or set its status; returns it without metrics, params and inputs."""
        return self._run(runs.update_run(run_id, run_name=run_name, status=status))

    def set_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an active run, running or ended."""
        self._run(runs.set_run_tags(run_id, tags))

    def delete_run_tag(self, run_id: str, key: str) -> None:
        """Delete a tag; raises NotFound when it is missing."""
        self._run(runs.delete_run_tag(run_id, key))

    def delete_run(self, run_id: str) -> None:
        """Mark a run deleted; repeating it is harmless."""
        self._run(runs.delete_run(run_id))

    def restore_run(self, run_id: str) -> None:
        """Restore a run; repeating it is harmless."""
        self._run(runs.restore_run(run_id))

    def watch_run(self, run_id: str) -> Iterator[Run]:
        """The run now and after every change, until it has ended. Close the iterator to leave earlier."""
        return self._stream(runs.watch_run(run_id))

    # Metrics

    def list_metrics(
        self, run_ids: Sequence[str], *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> tuple[MetricSummary, ...]:
        """Every metric of 1 to 1,000 runs with its latest point and point count."""
        return self._run(metrics.list_metrics(run_ids, self._wait(wait_for, wait_seconds)))

    def latest_metrics(
        self, run_id: str, *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> dict[str, MetricPoint]:
        """Latest point of each metric of a run by key."""
        return dict(self.get_run(run_id, wait_for=wait_for, wait_seconds=wait_seconds).latest)

    def metric_history(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> MetricHistory:
        """The whole history of one key as numpy columns; empty when there are no points.

        Args:
            run_id: run.
            key: metric key.
            start_step: least step, inclusive.
            end_step: greatest step, inclusive.
            wait_for: see the class.
            wait_seconds: longest wait.
        """
        wait = self._wait(wait_for, wait_seconds)
        parts = self._stream(metrics.history_parts([run_id], [key], start_step, end_step, wait))
        return metrics.one_history(run_id, key, parts)

    def metric_histories(
        self,
        run_ids: Sequence[str],
        keys: Sequence[str] = (),
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> MetricHistories:
        """Whole histories of 1 to 1,000 runs; no keys mean all. Held in memory: 24 bytes a point."""
        wait = self._wait(wait_for, wait_seconds)
        parts = self._stream(metrics.history_parts(run_ids, keys, start_step, end_step, wait))
        return metrics.histories(parts)

    def iter_metric_histories(
        self, run_ids: Sequence[str], keys: Sequence[str] = ()
    ) -> Iterator[MetricHistory]:
        """Whole histories in parts of at most 131,072 points, for what does not fit into memory.

        Parts of one (run, key) come together and in order.
        """
        wait = self._wait(None, DEFAULT_WAIT_SECONDS)
        return self._stream(metrics.history_parts(run_ids, keys, None, None, wait))

    def sampled_histories(
        self,
        run_ids: Sequence[str],
        keys: Sequence[str],
        *,
        max_points: int = 1000,
        axis: str = "step",
        sampling: str = "min_max_mean",
        start_step: int | None = None,
        end_step: int | None = None,
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> tuple[SampledHistory, ...]:
        """Histories of 1 to 100 runs and keys downsampled in the store; those without points are left out.

        Args:
            run_ids: runs.
            keys: metric keys.
            max_points: 1 to 10,000; shorter histories come whole.
            axis: "step", "time" or "relative_time".
            sampling: "min_max_mean", "lttb" or "first_in_bucket".
            start_step: least step, inclusive.
            end_step: greatest step, inclusive.
            wait_for: see the class.
            wait_seconds: longest wait.
        """
        wait = self._wait(wait_for, wait_seconds)
        return self._run(
            metrics.sampled_histories(run_ids, keys, max_points, axis, sampling, start_step, end_step, wait)
        )

    def watch_metrics(
        self, run_ids: Sequence[str], keys: Sequence[str] = (), *, backlog_points: int = 0
    ) -> Iterator[MetricHistory]:
        """New points as they become queryable, until every watched run has ended.

        Args:
            run_ids: 1 to 100 runs.
            keys: metric keys; none mean all.
            backlog_points: send the last N points of each history first, 0 to 10,000.
        """
        return self._stream(metrics.watch_metrics(run_ids, keys, backlog_points))

"""The client for queries, awaited: the methods of `runstream.query.client.Client`, described there."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from runstream.query import client_metrics as metrics
from runstream.query import client_runs as runs
from runstream.query.async_sending import AsyncSender
from runstream.query.client_calls import DEFAULT_WAIT_SECONDS
from runstream.query.results import RunTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from runstream.artifacts.async_client import AsyncArtifacts
    from runstream.query.client_calls import WaitFor
    from runstream.query.results import Experiment, MetricPoint, Run, RunComparison
    from runstream.query.results_metrics import MetricHistories, MetricHistory, MetricSummary, SampledHistory
    from runstream.registry.async_models import AsyncModels
    from runstream.registry.async_prompts import AsyncPrompts
    from runstream.registry.async_webhooks import AsyncWebhooks


class AsyncClient(AsyncSender):
    """Queries over experiments, runs and metrics, from one event loop; `async with` closes it.

    Args:
        url: see `Client`.
        timeout_seconds: see `Client`.
    """

    @cached_property
    def artifacts(self) -> AsyncArtifacts:
        """Files of runs and model versions."""
        from runstream.artifacts.async_client import AsyncArtifacts  # noqa: PLC0415 - queries do not pay for HTTP

        return AsyncArtifacts(self._target, self._timeout_seconds)

    @cached_property
    def models(self) -> AsyncModels:
        """Registered models, versions, promotions, policies and the audit trail."""
        from runstream.registry.async_models import AsyncModels  # noqa: PLC0415 - loaded when it is used

        return AsyncModels(self)

    @cached_property
    def prompts(self) -> AsyncPrompts:
        """Prompts and their versions."""
        from runstream.registry.async_prompts import AsyncPrompts  # noqa: PLC0415 - loaded when it is used

        return AsyncPrompts(self)

    @cached_property
    def webhooks(self) -> AsyncWebhooks:
        """Webhooks and their deliveries."""
        from runstream.registry.async_webhooks import AsyncWebhooks  # noqa: PLC0415 - loaded when it is used

        return AsyncWebhooks(self)

    async def close(self) -> None:
        """Close the channels; iterators that are under way end with an error."""
        if "artifacts" in self.__dict__:
            self.artifacts.close()
        await super().close()

    # Experiments

    async def create_experiment(
        self,
        name: str,
        *,
        artifact_location: str = "",
        tags: Mapping[str, str] | None = None,
        get_if_exists: bool = False,
    ) -> Experiment:
        """Create an experiment."""
        return await self._run(
            runs.create_experiment(name, artifact_location, tags or {}, get_if_exists=get_if_exists)
        )

    async def get_experiment(self, id_or_name: str) -> Experiment:
        """Read an experiment by id or name, deleted ones too; raises NotFound."""
        return await self._run(runs.get_experiment(id_or_name))

    def search_experiments(
        self,
        filter_string: str = "",
        *,
        order_by: Sequence[str] = (),
        view: str = "active",
        page_size: int = 0,
    ) -> AsyncIterator[Experiment]:
        """Iterate over experiments; pages are read as they are needed."""
        request = runs.search_experiments_request(filter_string, order_by, view, page_size)
        return self._pages(request, runs.experiment_page)

    async def rename_experiment(self, id_or_name: str, name: str) -> Experiment:
        """Give an active experiment another name."""
        return await self._run(runs.rename_experiment(id_or_name, name))

    async def delete_experiment(self, id_or_name: str) -> Experiment:
        """Mark an experiment and its runs deleted; returns it as it was."""
        return await self._run(runs.delete_experiment(id_or_name))

    async def restore_experiment(self, id_or_name: str) -> Experiment:
        """Restore an experiment and its runs; returns it as it was."""
        return await self._run(runs.restore_experiment(id_or_name))

    async def set_experiment_tags(self, id_or_name: str, tags: Mapping[str, str]) -> None:
        """Set tags of an active experiment."""
        await self._run(runs.set_experiment_tags(id_or_name, tags))

    # Runs

    async def get_run(
        self, run_id: str, *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> Run:
        """Read one run with its params, tags, inputs and latest metrics, deleted ones too; raises NotFound."""
        return await self._run(runs.get_run(run_id, self._wait(wait_for, wait_seconds)))

    async def get_runs(self, run_ids: Sequence[str]) -> RunTable:
        """Read runs in the given order; unknown ones are left out."""
        return await self._run(runs.get_runs(run_ids))

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
    ) -> AsyncIterator[Run]:
        """Iterate over runs; keyset pages are read as they are needed. `RunTable(...)` makes a table of them."""
        wait = self._wait(wait_for, wait_seconds)
        request = runs.search_runs_request(
            experiments, filter_string, order_by, view, page_size, wait, summaries_only=summaries_only
        )
        return self._pages(request, runs.run_pages(wait))

    async def run_table(
        self,
        experiments: str | Sequence[str],
        filter_string: str = "",
        *,
        limit: int = 1000,
        order_by: Sequence[str] = (),
    ) -> RunTable:
        """The first runs of a search as a table."""
        table: list[Run] = []
        async for run in self.search_runs(
            experiments, filter_string, order_by=order_by, page_size=min(limit, 1000)
        ):
            table.append(run)
            if len(table) == limit:
                break
        return RunTable(table)

    async def compare_runs(self, run_ids: Sequence[str]) -> RunComparison:
        """Params and latest metrics of runs side by side; raises NotFound when one is unknown."""
        return await self._run(runs.compare_runs(run_ids))

    async def update_run(self, run_id: str, *, run_name: str | None = None, status: str | None = None) -> Run:
        """Rename a run or set its status; returns it without metrics, params and inputs."""
        return await self._run(runs.update_run(run_id, run_name=run_name, status=status))

    async def set_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an active run, running or ended."""
        await self._run(runs.set_run_tags(run_id, tags))

    async def delete_run_tag(self, run_id: str, key: str) -> None:
        """Delete a tag; raises NotFound when it is missing."""
        await self._run(runs.delete_run_tag(run_id, key))

    async def delete_run(self, run_id: str) -> None:
        """Mark a run deleted; repeating it is harmless."""
        await self._run(runs.delete_run(run_id))

    async def restore_run(self, run_id: str) -> None:
        """Restore a run; repeating it is harmless."""
        await self._run(runs.restore_run(run_id))

    def watch_run(self, run_id: str) -> AsyncIterator[Run]:
        """The run now and after every change, until it has ended. Close the iterator to leave earlier."""
        return self._stream(runs.watch_run(run_id))

    # Metrics

    async def list_metrics(
        self, run_ids: Sequence[str], *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> tuple[MetricSummary, ...]:
        """Every metric of 1 to 1,000 runs with its latest point and point count."""
        return await self._run(metrics.list_metrics(run_ids, self._wait(wait_for, wait_seconds)))

    async def latest_metrics(
        self, run_id: str, *, wait_for: WaitFor = None, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> dict[str, MetricPoint]:
        """Latest point of each metric of a run by key."""
        run = await self.get_run(run_id, wait_for=wait_for, wait_seconds=wait_seconds)
        return dict(run.latest)

    async def metric_history(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        wait_for: WaitFor = None,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
    ) -> MetricHistory:
        """The whole history of one key as numpy columns; empty when there are no points."""
        wait = self._wait(wait_for, wait_seconds)
        parts = self._stream(metrics.history_parts([run_id], [key], start_step, end_step, wait))
        return metrics.one_history(run_id, key, [part async for part in parts])

    async def metric_histories(
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
        return metrics.histories([part async for part in parts])

    def iter_metric_histories(
        self, run_ids: Sequence[str], keys: Sequence[str] = ()
    ) -> AsyncIterator[MetricHistory]:
        """Whole histories in parts of at most 131,072 points, for what does not fit into memory."""
        wait = self._wait(None, DEFAULT_WAIT_SECONDS)
        return self._stream(metrics.history_parts(run_ids, keys, None, None, wait))

    async def sampled_histories(
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
        """Histories of 1 to 100 runs and keys downsampled in the store; those without points are left out."""
        wait = self._wait(wait_for, wait_seconds)
        return await self._run(
            metrics.sampled_histories(run_ids, keys, max_points, axis, sampling, start_step, end_step, wait)
        )

    def watch_metrics(
        self, run_ids: Sequence[str], keys: Sequence[str] = (), *, backlog_points: int = 0
    ) -> AsyncIterator[MetricHistory]:
        """New points as they become queryable, until every watched run has ended."""
        return self._stream(metrics.watch_metrics(run_ids, keys, backlog_points))

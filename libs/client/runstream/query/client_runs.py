"""Flows over experiments and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from runstream_common.errors import InvalidArgument, NotFound
from runstream_proto.metadata.v1 import experiment_service_pb2 as experiment_pb
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb
from runstream_proto.metadata.v1 import types_pb2 as types_pb

from runstream.query.client_calls import (
    Call,
    Flow,
    Page,
    StreamCall,
    Wait,
    asked,
    checked,
    method_path,
    ready,
)
from runstream.query.client_translation import (
    STATUS_NUMBERS,
    VIEW_NUMBERS,
    experiment_of,
    key_values,
    positions_to_proto,
    run_of,
)
from runstream.query.results import Experiment, Run, RunComparison, RunTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

T = TypeVar("T")

EXPERIMENTS = experiment_pb.DESCRIPTOR.services_by_name["ExperimentService"].full_name
RUNS = run_pb.DESCRIPTOR.services_by_name["RunService"].full_name
MAX_RUNS_PER_READ = 1000


def _experiment(
    method: str, request: Message, answer: type[Message], translate: Callable[[Any], Any]
) -> Call[Any]:
    return Call(method_path(EXPERIMENTS, method), request, answer.FromString, translate)


def _run(
    method: str,
    request: Message,
    answer: type[Message],
    translate: Callable[[Any], Any],
    wait: Wait | None = None,
) -> Call[Any]:
    extra = wait.seconds if wait and wait.positions else 0.0
    return Call(method_path(RUNS, method), request, answer.FromString, translate, extra_seconds=extra)


def _nothing(_answer: object) -> None:
    """Translate an empty answer."""


def number_of(kind: str, name: str, numbers: Mapping[str, Any]) -> Any:
    """The number of a name that a user gave.

    Raises:
        InvalidArgument: there is no such name; the text lists them.
    """
    if name not in numbers:
        raise InvalidArgument.of(kind, f"{name!r} is not one of {', '.join(numbers)}")
    return numbers[name]


# Experiments


def create_experiment(
    name: str, artifact_location: str, tags: Mapping[str, str], *, get_if_exists: bool
) -> Flow[Experiment]:
    """Create an experiment, or get the active one of that name."""
    request = experiment_pb.CreateExperimentRequest(
        name=name,
        artifact_location=artifact_location,
        tags=key_values(dict(tags)),
        get_if_exists=get_if_exists,
    )
    answer = experiment_pb.CreateExperimentResponse
    return asked(_experiment("CreateExperiment", request, answer, lambda a: experiment_of(a.experiment)))


def get_experiment(id_or_name: str) -> Flow[Experiment]:
    """Read an experiment by id, and by name when it is no id or there is no such id."""
    by_id = experiment_pb.GetExperimentRequest(experiment_id=id_or_name)
    by_name = experiment_pb.GetExperimentRequest(name=id_or_name)
    if id_or_name.isdecimal():
        try:
            return (yield from _get_experiment(by_id))
        except NotFound as error:
            try:
                return (yield from _get_experiment(by_name))
            except NotFound:
                raise error from None
    return (yield from _get_experiment(by_name))


def _get_experiment(request: experiment_pb.GetExperimentRequest) -> Flow[Experiment]:
    answer = experiment_pb.GetExperimentResponse
    return asked(_experiment("GetExperiment", request, answer, lambda a: experiment_of(a.experiment)))


def experiment_ids(ids_or_names: str | Sequence[str]) -> Flow[tuple[str, ...]]:
    """Ids of experiments given by id or name; ids are taken as they are."""
    found: dict[str, str] = {}
    for given in [ids_or_names] if isinstance(ids_or_names, str) else ids_or_names:
        found[given] = given if given.isdecimal() else (yield from get_experiment(given)).experiment_id
    return tuple(found.values())


def search_experiments_request(
    filter_text: str, order_by: Sequence[str], view: str, page_size: int
) -> Flow[experiment_pb.SearchExperimentsRequest]:
    """The first page's request."""
    return ready(
        experiment_pb.SearchExperimentsRequest(
            filter=filter_text,
            order_by=order_by,
            view_type=number_of("view", view, VIEW_NUMBERS),
            page_size=page_size,
        )
    )


def experiment_page(request: experiment_pb.SearchExperimentsRequest) -> Flow[Page[Experiment]]:
    """One page of a search; its token goes into the request for the next."""
    answer = experiment_pb.SearchExperimentsResponse
    return asked(
        _experiment(
            "SearchExperiments",
            request,
            answer,
            lambda a: Page(tuple(experiment_of(e) for e in a.experiments), a.next_page_token),
        )
    )


def rename_experiment(id_or_name: str, name: str) -> Flow[Experiment]:
    """Give an active experiment another name."""
    (experiment_id,) = yield from experiment_ids(id_or_name)
    request = experiment_pb.UpdateExperimentRequest(experiment_id=experiment_id, name=name)
    answer = experiment_pb.UpdateExperimentResponse
    call: Call[Experiment] = _experiment(
        "UpdateExperiment", request, answer, lambda a: experiment_of(a.experiment)
    )
    return (yield from asked(call))


def delete_experiment(id_or_name: str) -> Flow[Experiment]:
    """Mark an experiment and its runs deleted; returns it as it was."""
    experiment = yield from get_experiment(id_or_name)
    request = experiment_pb.DeleteExperimentRequest(experiment_id=experiment.experiment_id)
    yield _experiment("DeleteExperiment", request, experiment_pb.DeleteExperimentResponse, _nothing)
    return experiment


def restore_experiment(id_or_name: str) -> Flow[Experiment]:
    """Restore an experiment and its runs; returns it as it was."""
    experiment = yield from get_experiment(id_or_name)
    request = experiment_pb.RestoreExperimentRequest(experiment_id=experiment.experiment_id)
    yield _experiment("RestoreExperiment", request, experiment_pb.RestoreExperimentResponse, _nothing)
    return experiment


def set_experiment_tags(id_or_name: str, tags: Mapping[str, str]) -> Flow[None]:
    """Set tags of an active experiment."""
    (experiment_id,) = yield from experiment_ids(id_or_name)
    request = experiment_pb.SetExperimentTagsRequest(experiment_id=experiment_id, tags=key_values(dict(tags)))
    yield _experiment("SetExperimentTags", request, experiment_pb.SetExperimentTagsResponse, _nothing)


# Runs


def get_run(run_id: str, wait: Wait) -> Flow[Run]:
    """Read one run with all its data."""
    request = run_pb.GetRunRequest(
        run_id=run_id, wait_for=positions_to_proto(wait.positions), wait_timeout_ms=wait.milliseconds
    )

    def translate(answer: run_pb.GetRunResponse) -> Run:
        checked(answer.freshness, wait)
        return run_of(answer.run)

    return asked(_run("GetRun", request, run_pb.GetRunResponse, translate, wait))


def get_runs(run_ids: Sequence[str]) -> Flow[RunTable]:
    """Read runs in the given order; unknown ones are left out."""
    runs: list[Run] = []
    for start in range(0, len(run_ids), MAX_RUNS_PER_READ):
        request = run_pb.GetRunsRequest(run_ids=run_ids[start : start + MAX_RUNS_PER_READ])
        runs += yield _run(
            "GetRuns", request, run_pb.GetRunsResponse, lambda a: [run_of(run) for run in a.runs]
        )
    return RunTable(runs)


def compare_runs(run_ids: Sequence[str]) -> Flow[RunComparison]:
    """Read runs to be seen side by side; an unknown one is an error."""
    runs = yield from get_runs(run_ids)
    missing = set(run_ids) - {run.run_id for run in runs}
    if missing:
        raise NotFound(f"no run {', '.join(sorted(missing))}", reason="RUN_NOT_FOUND")
    return RunComparison(runs)


def search_runs_request(
    experiments: str | Sequence[str],
    filter_text: str,
    order_by: Sequence[str],
    view: str,
    page_size: int,
    wait: Wait,
    *,
    summaries_only: bool,
) -> Flow[run_pb.SearchRunsRequest]:
    """The first page's request; experiments by id or name."""
    view_type = number_of("view", view, VIEW_NUMBERS)
    ids = yield from experiment_ids(experiments)
    return run_pb.SearchRunsRequest(
        experiment_ids=ids,
        filter=filter_text,
        order_by=order_by,
        view_type=view_type,
        page_size=page_size,
        wait_for=positions_to_proto(wait.positions),
        wait_timeout_ms=wait.milliseconds,
        summaries_only=summaries_only,
    )


def run_pages(wait: Wait) -> Callable[[run_pb.SearchRunsRequest], Flow[Page[Run]]]:
    """How one page of a search is read; its token goes into the request for the next."""

    def translate(answer: run_pb.SearchRunsResponse) -> Page[Run]:
        checked(answer.freshness, wait)
        return Page(tuple(run_of(run) for run in answer.runs), answer.next_page_token)

    def page(request: run_pb.SearchRunsRequest) -> Flow[Page[Run]]:
        return asked(_run("SearchRuns", request, run_pb.SearchRunsResponse, translate, wait))

    return page


def update_run(run_id: str, *, run_name: str | None, status: str | None) -> Flow[Run]:
    """Rename a run or set its status; returns it without metrics, params and inputs."""
    number = number_of("status", status, STATUS_NUMBERS) if status else types_pb.RUN_STATUS_UNSPECIFIED
    request = run_pb.UpdateRunRequest(run_id=run_id, run_name=run_name or "", status=number)
    return asked(_run("UpdateRun", request, run_pb.UpdateRunResponse, lambda a: run_of(a.run)))


def set_run_tags(run_id: str, tags: Mapping[str, str]) -> Flow[None]:
    """Set tags of an active run, running or ended."""
    request = run_pb.LogBatchRequest(run_id=run_id, tags=key_values(dict(tags)))
    yield _run("LogBatch", request, run_pb.LogBatchResponse, _nothing)


def delete_run_tag(run_id: str, key: str) -> Flow[None]:
    """Delete a tag of an active run."""
    yield _run(
        "DeleteTag", run_pb.DeleteTagRequest(run_id=run_id, key=key), run_pb.DeleteTagResponse, _nothing
    )


def delete_run(run_id: str) -> Flow[None]:
    """Mark a run deleted; repeating it is harmless."""
    yield _run("DeleteRun", run_pb.DeleteRunRequest(run_id=run_id), run_pb.DeleteRunResponse, _nothing)


def restore_run(run_id: str) -> Flow[None]:
    """Restore a run; repeating it is harmless."""
    yield _run("RestoreRun", run_pb.RestoreRunRequest(run_id=run_id), run_pb.RestoreRunResponse, _nothing)


def watch_run(run_id: str) -> Flow[StreamCall[Run]]:
    """The run now and after every change, until it has ended."""
    return ready(
        StreamCall(
            method_path(RUNS, "WatchRun"),
            run_pb.WatchRunRequest(run_id=run_id),
            run_pb.WatchRunResponse.FromString,
            lambda answer: run_of(answer.run),
        )
    )

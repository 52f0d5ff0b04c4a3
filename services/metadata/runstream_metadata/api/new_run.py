"""Reading a CreateRunRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations
from runstream_contract.ids import new_run_id

from runstream_metadata import rules
from runstream_metadata.api import mapping
from runstream_metadata.entities import NewRun
from runstream_metadata.run_creation import complete_new_run

if TYPE_CHECKING:
    from runstream_proto.metadata.v1.run_service_pb2 import CreateRunRequest

MAX_USER_ID_LENGTH = 256
"""Characters of a user's id (MLflow's column)."""

MAX_INITIAL_ENTRIES = 1_000
"""Params, and tags, that a run may begin with. MLflow has no limit here; a command line and its packages fit."""


def new_run(request: CreateRunRequest) -> NewRun:
    """The run to create, checked and complete.

    Raises:
        InvalidArgument: with everything that is wrong.
    """
    violations = Violations()
    params = mapping.pairs(request.params)
    tags = mapping.pairs(request.tags)
    rules.at_most("params", params, MAX_INITIAL_ENTRIES, violations)
    rules.at_most("tags", tags, MAX_INITIAL_ENTRIES, violations)
    if len(request.user_id) > MAX_USER_ID_LENGTH:
        violations.add("user_id", f"may have at most {MAX_USER_ID_LENGTH} characters")
    rules.time_ms("start_time_ms", request.start_time_ms, violations)
    new = NewRun(
        run_id=rules.run_id(request.run_id) if request.run_id else new_run_id(),
        experiment_id=rules.experiment_id(request.experiment_id),
        name=request.run_name,
        user_id=request.user_id,
        start_time_ms=request.start_time_ms,
        tags=rules.initial_tags(tags, violations),
        params=rules.params(params, violations),
        lease_ms=rules.lease_ms(request.lease_ms, violations),
        parent_run_id=rules.run_id(request.parent_run_id, "parent_run_id") if request.parent_run_id else "",
    )
    violations.check()
    return complete_new_run(new)


def new_run_or_error(request: CreateRunRequest) -> NewRun | InvalidArgument:
    """The run to create, or what is wrong with it."""
    try:
        return new_run(request)
    except InvalidArgument as error:
        return error

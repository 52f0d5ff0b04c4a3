"""Logged models: created, tagged, given params and metrics, made ready, deleted. Rules are MLflow's."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING

from asyncpg import ForeignKeyViolationError, UniqueViolationError
from runstream_common.database import retry_on_conflict
from runstream_common.violations import Violations

from runstream_metadata import logged_model_rules, rules
from runstream_metadata.entities import LifecycleStage
from runstream_metadata.errors import (
    ExperimentDeleted,
    ExperimentNotFound,
    LoggedModelIdTaken,
    LoggedModelNotFound,
    LoggedModelTagNotFound,
    ModelParamExists,
)
from runstream_metadata.logged_model_entities import (
    LoggedModel,
    LoggedModelStatus,
    ModelMetric,
    NewLoggedModel,
)
from runstream_metadata.run_data import require_active
from runstream_metadata.run_names import random_run_name
from runstream_metadata.search import search_logged_models
from runstream_metadata.store import logged_model_queries, logged_model_repository, run_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.search import LoggedModelSearch


class LoggedModels:
    """Use cases around logged models; owns their transactions.

    Args:
        database: where they are.
        clock: creation and update times.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, new: NewLoggedModel, params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
    ) -> tuple[LoggedModel, bool]:
        """Create a logged model in an active experiment; the same id again returns the model that is there.

        Args:
            new: an empty name means a generated one, an empty id a random one, no creation time now; its params and
                tags are not looked at.
            params: a key may come once.
            tags: the last value of a key wins.

        Returns:
            The model, and whether it was created.

        Raises:
            InvalidArgument: id, name, keys or times are wrong.
            ExperimentNotFound, ExperimentDeleted: it needs an active experiment.
            LoggedModelIdTaken: the id belongs to a model of another experiment.
        """
        checked = self._checked(new, params, tags)
        async with self._database.driver() as connection:
            outcome = await logged_model_repository.insert_model(connection, checked)
            if not outcome.created:
                return await self._existing(connection, checked, outcome.experiment_stage), False
        return _created(checked, outcome.artifact_uri), True

    async def get(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
        """One logged model with all its data.

        Raises:
            LoggedModelNotFound: there is none, or it is deleted and ``allow_deleted`` is not set.
        """
        checked = logged_model_rules.known_form(model_id)
        async with self._database.driver() as connection:
            found = await logged_model_queries.select_models(connection, [checked])
        if not found or (found[0].lifecycle_stage is LifecycleStage.DELETED and not allow_deleted):
            raise LoggedModelNotFound(model_id)
        return found[0]

    async def search(self, search: LoggedModelSearch) -> tuple[list[LoggedModel], str]:
        """One page of a search: models in the asked order, and the token of the next page; empty on the last one.

        Raises:
            InvalidArgument: filter, order, datasets, page size or token are wrong.
        """
        async with self._database.connect() as connection:
            page = await search_logged_models(connection, search)
            driver = await self._database.raw(connection)
            found = await logged_model_queries.select_models(driver, page.model_ids)
            return found, page.next_page_token

    async def set_status(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Set the status, whatever it was before, also of a deleted model (MLflow); returns the model.

        Raises:
            LoggedModelNotFound: there is none.
        """
        checked = logged_model_rules.known_form(model_id)
        async with self._database.driver() as connection:
            if not await logged_model_repository.set_status(
                connection, checked, status, self._clock.now_ms()
            ):
                raise LoggedModelNotFound(model_id)
        return await self.get(checked, allow_deleted=True)

    async def delete(self, model_id: str) -> None:
        """Mark a logged model deleted; repeating it is harmless.

        Raises:
            LoggedModelNotFound: there is none.
        """
        checked = logged_model_rules.known_form(model_id)
        async with self._database.driver() as connection:
            if not await logged_model_repository.set_stage(
                connection, checked, LifecycleStage.DELETED, self._clock.now_ms()
            ):
                raise LoggedModelNotFound(model_id)

    async def set_tags(self, model_id: str, tags: Sequence[tuple[str, str]]) -> LoggedModel:
        """Set tags, the last value of a key wins; returns the model. Deleted models take them too (MLflow).

        Raises:
            InvalidArgument: a key is wrong.
            LoggedModelNotFound: there is no such model.
        """
        checked = logged_model_rules.known_form(model_id)
        violations = Violations()
        texts = logged_model_rules.texts("tags", tags, violations)
        violations.check()

        async def write() -> bool:
            async with self._database.driver() as connection:
                return await logged_model_repository.upsert_tags(connection, checked, texts)

        if not await retry_on_conflict(write):
            raise LoggedModelNotFound(model_id)
        return await self.get(checked, allow_deleted=True)

    async def delete_tag(self, model_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            LoggedModelNotFound: there is no such model.
            LoggedModelTagNotFound: it has no such tag.
        """
        async with self._database.driver() as connection:
            deleted = await logged_model_repository.delete_tag(
                connection, logged_model_rules.known_form(model_id), key
            )
        if deleted is None:
            raise LoggedModelNotFound(model_id)
        if not deleted:
            raise LoggedModelTagNotFound(model_id, key)

    async def log_params(self, model_id: str, params: Sequence[tuple[str, str]]) -> LoggedModel:
        """Add params, all or nothing; returns the model. A key that is there is refused, also with an equal value (MLflow).

        Raises:
            InvalidArgument: a key is wrong or comes twice.
            ModelParamExists: one of the keys is there.
            LoggedModelNotFound: there is no such model.
        """
        checked = logged_model_rules.known_form(model_id)
        violations = Violations()
        texts = logged_model_rules.texts("params", params, violations, once=True)
        violations.check()
        async with self._database.driver() as connection:
            try:
                found = await logged_model_repository.insert_params(connection, checked, texts)
            except UniqueViolationError as error:
                there = await logged_model_queries.select_param_keys(connection, checked, texts)
                raise ModelParamExists(model_id, sorted(there)) from error
        if not found:
            raise LoggedModelNotFound(model_id)
        return await self.get(checked, allow_deleted=True)

    async def log_metrics(self, metrics: Sequence[ModelMetric]) -> None:
        """File points of active runs under logged models, all or nothing; exact repeats are stored once.

        Args:
            metrics: 1 to logged_model_rules.MAX_METRICS points, of any models and runs.

        Raises:
            InvalidArgument: keys, times or numbers are wrong.
            LoggedModelNotFound: one of the models does not exist; deleted ones take points (MLflow).
            RunNotFound, RunDeleted: each run must be active.
        """
        logged_model_rules.check_metrics(metrics)
        for metric in metrics:
            logged_model_rules.known_form(metric.model_id)
        # Sorted, so that parallel writers lock in one order.
        ordered = sorted(metrics, key=lambda metric: (metric.model_id, metric.key, metric.timestamp_ms))
        await retry_on_conflict(lambda: self._write_metrics(ordered))

    async def _write_metrics(self, metrics: Sequence[ModelMetric]) -> None:
        async with self._database.driver() as connection:
            run_ids = list(dict.fromkeys(metric.run_id for metric in metrics))
            checks = await run_queries.check_runs(connection, run_ids)
            for run_id in run_ids:
                check = checks.get(run_id)
                require_active(run_id, check.lifecycle_stage if check else None)
            try:
                await logged_model_repository.insert_metrics(connection, metrics)
            except ForeignKeyViolationError as error:
                wanted = list(dict.fromkeys(metric.model_id for metric in metrics))
                there = await logged_model_queries.select_existing(connection, wanted)
                missing = next((model_id for model_id in wanted if model_id not in there), wanted[0])
                raise LoggedModelNotFound(missing) from error

    async def _existing(
        self, connection: Connection, new: NewLoggedModel, stage: LifecycleStage | None
    ) -> LoggedModel:
        if stage is None:
            raise ExperimentNotFound(f"experiment {new.experiment_id} does not exist")
        if stage is not LifecycleStage.ACTIVE:
            raise ExperimentDeleted(new.experiment_id)
        found = await logged_model_queries.select_models(connection, [new.model_id])
        if not found:
            raise LoggedModelNotFound(new.model_id)
        if found[0].experiment_id != new.experiment_id:
            raise LoggedModelIdTaken(new.model_id, found[0].experiment_id)
        return found[0]

    def _checked(
        self, new: NewLoggedModel, params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
    ) -> NewLoggedModel:
        violations = Violations()
        logged_model_rules.check_name(new.name, violations)
        for field, text in (("model_type", new.model_type), ("source_run_id", new.source_run_id)):
            if len(text) > logged_model_rules.MAX_NAME_LENGTH:
                violations.add(
                    field,
                    f"has {len(text)} characters, at most {logged_model_rules.MAX_NAME_LENGTH} are allowed",
                )
        if new.model_id and not logged_model_rules.is_model_id(new.model_id):
            violations.add("model_id", 'must be "m-" and 32 lowercase hexadecimal characters')
        rules.time_ms("creation_time_ms", new.creation_time_ms, violations)
        checked = dataclasses.replace(
            new,
            model_id=new.model_id or f"m-{secrets.token_hex(16)}",
            name=new.name or random_run_name(),
            creation_time_ms=new.creation_time_ms or self._clock.now_ms(),
            params=logged_model_rules.texts("params", params, violations, once=True),
            tags=logged_model_rules.texts("tags", tags, violations),
        )
        violations.check()
        return checked


def _created(new: NewLoggedModel, artifact_uri: str) -> LoggedModel:
    return LoggedModel(
        model_id=new.model_id,
        experiment_id=new.experiment_id,
        name=new.name,
        model_type=new.model_type,
        source_run_id=new.source_run_id,
        status=LoggedModelStatus.PENDING,
        status_message="",
        artifact_uri=artifact_uri,
        lifecycle_stage=LifecycleStage.ACTIVE,
        creation_time_ms=new.creation_time_ms,
        last_update_time_ms=new.creation_time_ms,
        params=new.params,
        tags=new.tags,
    )

"""Two gateways before the same services: what one acknowledged, the other shows at once. They share nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tests.support.service_stack import EVERY_SERVICE, ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDS = 25


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def gateways(
    request: pytest.FixtureRequest, database_url: str, topic_prefix: str, tmp_path: Path
) -> Iterator[tuple[MlflowClient, MlflowClient]]:
    """Clients of two gateways of one deployment."""
    plain = database_url.replace("+asyncpg", "")
    kafka = request.param == "kafka"
    stack = ServiceStack(
        tmp_path,
        database_url=plain,
        bus_url=f"kafka://{request.getfixturevalue('kafka_bootstrap')}" if kafka else plain,
        topic_prefix=topic_prefix if kafka else "",
        names=EVERY_SERVICE,
    )
    try:
        stack.start()
        replica = stack.new_gateway_replica()
        replica.start()
        yield MlflowClient(stack.gateway.url), MlflowClient(replica.url)
    finally:
        stack.stop()


def test_what_one_gateway_acknowledged_the_other_shows(gateways: tuple[MlflowClient, MlflowClient]) -> None:
    first, second = gateways
    experiment_id = first.create_experiment("replicas")
    run_id = second.create_run(experiment_id, run_name="shared").info.run_id
    for number in range(ROUNDS):
        writer, reader = (first, second) if number % 2 else (second, first)
        value = float(number)
        writer.log_metric(run_id, "single", value, timestamp=number, step=number)
        assert reader.get_run(run_id).data.metrics["single"] == value
        writer.log_batch(
            run_id,
            metrics=[Metric("many", value + step / 100, number, number * 100 + step) for step in range(100)],
            params=[Param(f"p{number}", str(number))],
            tags=[RunTag("round", str(number))],
        )
        assert len(reader.get_metric_history(run_id, "many")) == 100 * (number + 1)
        found = reader.search_runs([experiment_id], f"metrics.many > {value} AND tags.round = '{number}'")
        assert [run.data.params[f"p{number}"] for run in found] == [str(number)]


def test_a_run_deleted_through_one_gateway_takes_nothing_through_the_other(
    gateways: tuple[MlflowClient, MlflowClient],
) -> None:
    first, second = gateways
    run_id = first.create_run("0", run_name="deleted").info.run_id
    second.log_metric(run_id, "m", 1.0, timestamp=1, step=1)
    first.delete_run(run_id)
    with pytest.raises(Exception, match="INVALID_PARAMETER_VALUE"):
        second.log_metric(run_id, "m", 2.0, timestamp=2, step=2)
    first.restore_run(run_id)
    second.log_metric(run_id, "m", 3.0, timestamp=3, step=3)
    assert [point.value for point in first.get_metric_history(run_id, "m")] == [1.0, 3.0]

"""`runstream spool` over a spool that a process left behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from runstream.cli import output
from runstream.cli.app import app
from runstream.tracking.segments import Record, RecordKind
from runstream.tracking.spool import SpoolBudget, SpoolWriter, server_dir
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsRequest
from typer.testing import CliRunner

RUN, UNKNOWN = f"{1:032x}", "f" * 32


@pytest.fixture
def cli(deployment, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNSTREAM_URL", deployment.url)
    monkeypatch.setenv("RUNSTREAM_SPOOL_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, list(words))


@pytest.fixture
def spooled(deployment, tmp_path):
    """Writes one batch of a run into the spool; returns its writer, which still holds its lock."""

    def write(run_id, points=500):
        steps = np.arange(points)
        batch = encode(new_batch_id(), run_id, [Series("loss", steps, steps, steps * 0.5)])
        writer = SpoolWriter(
            server_dir(tmp_path, deployment.url) / run_id, new_batch_id(), SpoolBudget(tmp_path, 10**9)
        )
        writer.append(Record(RecordKind.METRICS, batch, points))
        return writer

    return write


def waiting(cli):
    shape = json.loads(cli("spool", "status", "--json").stdout)
    return [(item["run_id"], item["points"], item["writer_alive"]) for item in shape["waiting"]]


def test_what_waits_is_shown_with_its_writer(cli, spooled):
    writer = spooled(RUN)
    assert waiting(cli) == [(RUN, 500, True)]
    writer.close()
    assert waiting(cli) == [(RUN, 500, False)]
    assert "500" in cli("spool", "status").stdout
    assert waiting(lambda *words: cli(*words, "--url", "elsewhere:1")) == []


def test_flush_sends_what_is_left_and_nothing_twice(cli, spooled, deployment):
    spooled(RUN).close()
    assert "sent 500 points" in cli("spool", "flush").stdout
    assert json.loads(cli("spool", "flush", "--json").stdout)["sent_points"] == 0
    sent = [request for request in deployment.store.asked if isinstance(request, LogMetricsRequest)]
    assert [len(request.series[0].values) for request in sent] == [500]
    assert waiting(cli) == []


def test_what_is_refused_for_good_is_kept_with_its_reason(cli, spooled):
    """B7: nothing is dropped silently."""
    spooled(UNKNOWN).close()
    result = cli("spool", "flush")
    assert result.exit_code == output.EXIT_PROBLEM
    assert "RUN_NOT_FOUND" in result.stderr
    (rejected,) = json.loads(cli("spool", "status", "--json").stdout)["rejected"]
    assert (rejected["run_id"], rejected["points"], rejected["reason"]) == (UNKNOWN, 500, "RUN_NOT_FOUND")
    assert "RUN_NOT_FOUND" in cli("spool", "status").stdout
    findings = {f["check"]: f for f in json.loads(cli("doctor", "--json").stdout)["findings"]}
    assert findings["spool rejections"]["level"] == "warning"


def test_without_a_server_nothing_is_lost(cli, spooled, tmp_path):
    spooled(RUN).close()
    (tmp_path / server_dir(tmp_path, "127.0.0.1:1").name).symlink_to(next(tmp_path.iterdir()))
    result = cli("spool", "flush", "--url", "127.0.0.1:1")
    assert result.exit_code == output.EXIT_UNREACHABLE
    assert (RUN, 500, False) in waiting(cli)


def test_doctor_points_to_the_flush(cli, spooled):
    spooled(RUN).close()
    result = cli("doctor")
    assert result.exit_code == 0
    assert "runstream spool flush" in result.stdout
    assert "1 warning" in result.stdout or "warnings" in result.stdout

"""What a run was made with: git, command line, packages, machine."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from runstream.tracking.capture import command_line, git_tags, packages_json, start_tags
from runstream.tracking.session import Session
from runstream.tracking.settings import Settings
from runstream.tracking.system_metrics import GpuSampler, MachineSampler

from tests.support.fake_server import FakeServer


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_state_is_told(tmp_path: Path):
    assert git_tags(tmp_path) == {}
    git(tmp_path, "init", "-q", "-b", "work")
    (tmp_path / "train.py").write_text("print(1)")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    clean = {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": "work",
        "runstream.source.git.dirty": "false",
    }
    assert git_tags(tmp_path) == clean
    (tmp_path / "train.py").write_text("print(2)")
    assert git_tags(tmp_path) == {**clean, "runstream.source.git.dirty": "true"}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["train.py", "--rate", "0.1"], "train.py --rate 0.1"),
        (["train.py", "--api-key", "abc", "x y"], "train.py --api-key '***' 'x y'"),
        (["train.py", "--token=abc", "--db-password=x"], "train.py '--token=***' '--db-password=***'"),
        (["train.py", "--secret", "--rate", "1"], "train.py --secret --rate 1"),
    ],
)
def test_the_command_line_hides_secrets(arguments, shown):
    assert command_line(arguments) == shown


@pytest.mark.parametrize("max_chars", [2, 100, 8000])
def test_packages_are_cut_whole(max_chars):
    text = packages_json(max_chars)
    assert len(text) <= max_chars
    packages = json.loads(text)
    assert ("numpy" in packages) == (max_chars == 8000)


def test_tags_have_mlflows_names():
    tags = start_tags()
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} < set(tags)
    assert tags["mlflow.source.type"] == "LOCAL"


def test_a_run_carries_them_when_it_has_ended(settings: Settings, server: FakeServer):
    session = Session(server.url, replace(settings, capture=True))
    session.start_run().end()
    session.close()
    tags = server.only_run().tags
    assert tags["runstream.python.version"].startswith("3.")
    assert "numpy" in json.loads(tags["runstream.packages"])
    assert server.only_run().request.user_id == tags["mlflow.user"]


def test_the_machine_is_sampled_under_mlflows_names():
    sample = MachineSampler().sample()
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/disk_usage_percentage",
        "system/disk_usage_megabytes",
        "system/disk_available_megabytes",
    } <= set(sample)
    assert 0 < sample["system/system_memory_usage_percentage"] <= 100


def test_samples_are_logged_at_an_interval(settings: Settings, server: FakeServer):
    quick = replace(settings, system_metrics=True, system_metrics_interval_seconds=0.1)
    session = Session(server.url, quick)
    run = session.start_run()
    server.wait_until(lambda: len(server.only_run().values("system/cpu_utilization_percentage")) >= 2)
    run.end()
    session.close()
    steps = [p[1] for p in sorted(server.only_run().points) if p[0] == "system/cpu_utilization_percentage"]
    assert steps == list(range(len(steps)))


class FakeNvml:
    """Two devices, the second of which fails."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetCount(self):  # noqa: N802 - NVML's own naming
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, device):  # noqa: N802
        if device == 1:
            raise self.NVMLError("lost")
        return SimpleNamespace(used=4_000_000, total=8_000_000)

    def nvmlDeviceGetUtilizationRates(self, device):  # noqa: N802
        return SimpleNamespace(gpu=75)

    def nvmlDeviceGetPowerUsage(self, device):  # noqa: N802
        return 150_000

    def nvmlDeviceGetEnforcedPowerLimit(self, device):  # noqa: N802
        return 300_000


def test_a_gpu_is_sampled_and_a_failing_one_left_out():
    assert GpuSampler(FakeNvml()).sample() == {
        "system/gpu_0_memory_usage_percentage": 50.0,
        "system/gpu_0_memory_usage_megabytes": 4.0,
        "system/gpu_0_utilization_percentage": 75.0,
        "system/gpu_0_power_usage_watts": 150.0,
        "system/gpu_0_power_usage_percentage": 50.0,
    }

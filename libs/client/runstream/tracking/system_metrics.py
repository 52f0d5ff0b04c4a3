"""Samples of the machine at an interval, under MLflow's metric names.

Source of the names: MLflow `mlflow.system_metrics` (`system/cpu_utilization_percentage` …).
"""

from __future__ import annotations

import importlib
import logging
import threading
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("runstream")

_MEGABYTE = 1_000_000
_MILLI = 1_000


class MachineSampler:
    """Reads CPU, memory, disk and network through psutil. Network counts from the sampler's making on."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # the first call only sets the starting point
        self._network_start = psutil.net_io_counters()

    def sample(self) -> dict[str, float]:
        """Values by metric name."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage("/")
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/disk_usage_percentage": disk.percent,
            "system/disk_usage_megabytes": disk.used / _MEGABYTE,
            "system/disk_available_megabytes": disk.free / _MEGABYTE,
        }
        network, start = psutil.net_io_counters(), self._network_start
        if network is not None and start is not None:  # no interface in some containers
            received, sent = network.bytes_recv - start.bytes_recv, network.bytes_sent - start.bytes_sent
            values["system/network_receive_megabytes"] = received / _MEGABYTE
            values["system/network_transmit_megabytes"] = sent / _MEGABYTE
        return values


class GpuSampler:
    """Reads NVIDIA GPUs through pynvml.

    Args:
        nvml: the pynvml module, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]

    @classmethod
    def open(cls) -> GpuSampler | None:
        """The sampler; None when pynvml or a GPU is missing."""
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            nvml.nvmlInit()
            return cls(nvml)
        except nvml.NVMLError as error:
            log.debug("no GPU is sampled: %s", error)
            return None

    def sample(self) -> dict[str, float]:
        """Values by metric name; a device that fails to answer is left out this time."""
        values: dict[str, float] = {}
        for index, device in enumerate(self._devices):
            try:
                values |= self._sample_device(f"system/gpu_{index}_", device)
            except self._nvml.NVMLError as error:
                log.debug("GPU %d does not answer: %s", index, error)
        return values

    def _sample_device(self, prefix: str, device: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
        power = self._nvml.nvmlDeviceGetPowerUsage(device)
        power_limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(device)
        return {
            f"{prefix}memory_usage_percentage": 100 * memory.used / memory.total,
            f"{prefix}memory_usage_megabytes": memory.used / _MEGABYTE,
            f"{prefix}utilization_percentage": float(self._nvml.nvmlDeviceGetUtilizationRates(device).gpu),
            f"{prefix}power_usage_watts": power / _MILLI,
            f"{prefix}power_usage_percentage": 100 * power / power_limit,
        }


class SystemMetrics:
    """A thread that samples while a run is open.

    Args:
        log_metrics: where the values go.
        interval_seconds: time between two samples.
    """

    def __init__(self, log_metrics: Callable[[Mapping[str, float]], None], interval_seconds: float) -> None:
        self._log_metrics = log_metrics
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runstream-system-metrics", daemon=True)

    def start(self) -> None:
        """Begin; the first sample comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            samplers = [sampler for sampler in (MachineSampler(), GpuSampler.open()) if sampler is not None]
            while not self._stop.wait(self._interval_seconds):
                for sampler in samplers:
                    self._log_metrics(sampler.sample())
        except Exception as error:  # noqa: BLE001 - training goes on without them
            log.warning("system metrics end: %s", error)

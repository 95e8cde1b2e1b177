"""Measure processors, memory and GPUs of this machine while a model trains, with the monitors of MLflow."""

import contextlib
import logging
from typing import Any

PREFIX = "system/"  # MLflow's pages show metrics with this beginning under "System metrics"


class SystemMetrics:
    """Measurements since the last call of `means`. All calls must come from one thread, or psutil's are wrong."""

    def __init__(self) -> None:
        """Begin to measure. GPUs are those of NVIDIA, and they need the package nvidia-ml-py."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # it would warn at each measurement
        self._monitors: list[Any] = [CPUMonitor()]  # type: ignore[no-untyped-call]  # MLflow has no types here
        with contextlib.suppress(Exception):  # without the package, a driver or a GPU
            self._monitors.append(GPUMonitor())  # type: ignore[no-untyped-call]
        self.measure()  # what psutil says of processors applies to the time since the measurement before
        self._clear()

    def measure(self) -> None:
        """Take a measurement."""
        for monitor in self._monitors:
            monitor.collect_metrics()

    def means(self) -> dict[str, float]:
        """Take a measurement, and return the means of all since the last call."""
        self.measure()
        means = {
            PREFIX + name: mean for monitor in self._monitors for name, mean in monitor.aggregate_metrics().items()
        }
        self._clear()
        return means

    def _clear(self) -> None:
        for monitor in self._monitors:
            monitor.clear_metrics()

"""Resolve device, precision and thread count."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from naevi.config import RuntimeConfig
from naevi.errors import UserError
from naevi.models.distributed import local_world_size, world_size


@dataclass(frozen=True)
class ComputeSettings:
    """Device, precision, threads and processes, without `auto`. Equal ones on one machine class give equal bytes."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp32"]
    threads: int
    processes: int = 1

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Run a network in the chosen precision."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def resolve_compute_settings(settings: RuntimeConfig) -> ComputeSettings:
    """Return definite settings and apply them to torch. Raises UserError if cuda is requested but missing."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda, but torch finds no CUDA device. Set it to auto or cpu.")
    device: Literal["cpu", "cuda"] = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if _has_native_bf16(device) else "fp32"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // local_world_size()) if settings.threads == "auto" else settings.threads
    torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Only a warning, because smp's bilinear decoders have no deterministic backward pass on CUDA.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling uninitialized memory takes time, and this code never reads memory that it hasn't written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return ComputeSettings(device, precision, threads, world_size())


def _has_native_bf16(device: str) -> bool:
    """Return whether the chip computes bf16 itself. Emulated bf16 is slower than fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    chip = torch.cpu.get_capabilities()
    return bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))

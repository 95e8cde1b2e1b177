"""Resolve device, precision and thread count."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from naevi.config import RuntimeConfig
from naevi.errors import UserError
from naevi.models.distributed import local_world_size, world_size
from naevi.parallel.processes import cores

ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)")  # of a GPU: sm_86 has the compute capability 8.6

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComputeSettings:
    """Device, precision, threads and processes, without `auto`. Equal ones on one machine class give equal bytes."""

    device: Literal["cpu", "cuda", "mps"]
    precision: Literal["bf16", "fp32"]
    threads: int
    processes: int = 1

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Run a network in the chosen precision."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def resolve_compute_settings(settings: RuntimeConfig) -> ComputeSettings:
    """Return definite settings and apply them to torch.

    `auto` is cuda if there is a GPU that this torch supports, otherwise the CPU. Raises UserError if a device is
    requested that can't be used.
    """
    device = _resolve_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if _has_native_bf16(device) else "fp32"
    threads = max(1, cores() // local_world_size()) if settings.threads == "auto" else settings.threads
    torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Only a warning, because smp's bilinear decoders have no deterministic backward pass on CUDA.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling uninitialized memory takes time, and this code never reads memory that it hasn't written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return ComputeSettings(device, precision, threads, world_size())


def _resolve_device(requested: str) -> Literal["cpu", "cuda", "mps"]:
    if requested == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("runtime.device is mps, but torch finds no Apple GPU. Set it to auto or cpu.")
        return "mps"
    problem = "" if requested == "cpu" else _cuda_problem()
    if requested == "cuda" and problem:
        raise UserError(f"runtime.device is cuda, but {problem}. Set it to auto or cpu.")
    if problem and torch.cuda.is_available():
        logger.warning("The CPU is used, because %s.", problem)
    return "cpu" if requested == "cpu" or problem else "cuda"


def _cuda_problem() -> str:
    """Return why torch can't compute on a GPU, as a part of a sentence; empty if it can."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    major, minor = torch.cuda.get_device_capability()
    for kind, *number in ARCHITECTURE.findall(" ".join(torch.cuda.get_arch_list())):
        built_major, built_minor = map(int, number)
        if kind == "sm" and built_major == major and built_minor <= minor:
            return ""
        if kind == "compute" and (built_major, built_minor) <= (major, minor):  # code that newer GPUs can compile
            return ""
    return (
        f"this torch is not built for the GPU {torch.cuda.get_device_name()} (compute capability {major}.{minor}, but "
        f"torch has {', '.join(torch.cuda.get_arch_list())})"
    )


def _has_native_bf16(device: str) -> bool:
    """Return whether the chip computes bf16 itself. Emulated bf16 is slower than fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    chip = torch.cpu.get_capabilities()
    return bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))

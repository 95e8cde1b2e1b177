"""On what it is computed: `auto` made definite."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from naevi import processes
from naevi.config import RuntimeConfig
from naevi.refusal import Refusal, reason


@dataclass(frozen=True)
class Runtime:
    """Device, precision, threads and so on, all definite; equal ones on one machine class give equal bytes."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp32"]
    threads: int
    processes: int = 1
    compile: bool = False

    def autocast(self) -> torch.autocast:
        """The context in which a network runs."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, network: nn.Module) -> nn.Module:
        """The network as it trains: compiled at its first step, if that is asked for."""
        return cast(nn.Module, torch.compile(network)) if self.compile else network


def resolve(settings: RuntimeConfig) -> Runtime:
    """The definite runtime; torch is set to it. Raises Refusal where cuda is asked for and there is none."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("runtime.device is cuda, but torch finds no CUDA device here; set it to auto or cpu.")
    device: Literal["cpu", "cuda"] = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if _computes_bf16(device) else "fp32"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // processes.here()) if settings.threads == "auto" else settings.threads
    runtime = Runtime(device, precision, threads, processes.number(), settings.compile)
    torch.set_num_threads(runtime.threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Only a warning, because smp's bilinear decoders have no deterministic backward pass on CUDA.
        torch.use_deterministic_algorithms(True, warn_only=True)
    return runtime


@contextmanager
def told_of_memory() -> Iterator[None]:
    """Turn a full memory of a GPU into a Refusal that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Refusal(
            f"the GPU's memory is full ({reason(error)[:100]}); lower train.batch_size, preprocess.size or take a "
            "smaller model.encoder."
        ) from error


def _computes_bf16(device: str) -> bool:
    """Whether bf16 is computed by the chip; where it is emulated, it is slower than fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    chip = torch.cpu.get_capabilities()
    return bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))

"""Several processes that fit one model together, as torchrun starts them: who is who, and which images are whose.

Without torchrun there is one process, and nothing here does anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def number() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def here() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def place() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this one writes and reports; the others only compute."""
    return place() == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """The processes as a group: by gloo on CPUs, by NCCL on GPUs, of which each process takes its own."""
    if number() == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def together(network: nn.Module) -> nn.Module:
    """The network, whose gradients become the mean over the processes."""
    return network if number() == 1 else DistributedDataParallel(network)


def share(rows: Tensor) -> Tensor:
    """The rows of a batch that this process computes."""
    return rows[place() :: number()]


def total(value: float) -> float:
    """The sum over the processes."""
    if number() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return float(tensor)

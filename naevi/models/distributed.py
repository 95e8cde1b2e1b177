"""Train one model with several processes, as torchrun starts them.

Without torchrun there is one process, and these functions do nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def world_size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Return whether this process writes files and logs. The others only compute."""
    return rank() == 0


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Connect the processes: gloo on CPUs, NCCL on GPUs, one GPU for each process."""
    if world_size() == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def data_parallel(network: nn.Module) -> nn.Module:
    """Return the network with gradients averaged over the processes."""
    return network if world_size() == 1 else DistributedDataParallel(network)


def local_rows(rows: Tensor) -> Tensor:
    """Return the rows of a batch that this process computes."""
    return rows[rank() :: world_size()]


def sum_over_processes(value: float) -> float:
    """Return the sum of a value over the processes."""
    if world_size() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return float(tensor)

"""On what it is computed: `auto` made definite."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from naevi import processes
from naevi.config import RuntimeConfig
from naevi.depthwise import FastDepthwise
from naevi.refusal import Refusal, reason

Step = Callable[..., Tensor]
# A graph, the places of its arguments and its loss, and those of the gradients.
Graph = tuple[torch.cuda.CUDAGraph, list[Tensor], list[Tensor | None]]
AS_IT_IS = 2  # calls of each shape before it is recorded


@dataclass(frozen=True)
class Runtime:
    """Device, precision, threads and so on, all definite; equal ones on one machine class give equal bytes."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp32"]
    threads: int
    processes: int = 1

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which a network runs."""
        bf16 = self.precision == "bf16"
        convolutions = FastDepthwise() if bf16 and self.device == "cpu" else nullcontext()
        with torch.autocast(self.device, torch.bfloat16, enabled=bf16), convolutions:
            yield

    def recorded(self, step: Step, network: nn.Module) -> Step:
        """A step that leaves gradients at the network's parameters, on a GPU as `Recorded`, else as it is."""
        alone = self.device == "cuda" and self.processes == 1
        return Recorded(step, list(network.parameters())) if alone else step


class Recorded:
    """A step whose kernels are recorded as one CUDA graph and then replayed, so that none waits for its launch.

    The same kernels in the same order: it gives the bytes that the step gives, three to four times as fast
    (docs/experiments.md). There is a graph for each shape of the arguments. The first calls of a shape run as they are,
    since what is made lazily must be there before the recording. The loss that comes back is overwritten by the next
    call. A step that can't be recorded, because the CPU must know a number before it goes on, runs as it is.
    """

    def __init__(self, step: Step, parameters: list[nn.Parameter]) -> None:
        self.step, self.parameters = step, parameters
        self.calls: Counter[tuple[torch.Size, ...]] = Counter()
        self.graphs: dict[tuple[torch.Size, ...], Graph] = {}
        self.refused = False

    def __call__(self, *arguments: Tensor) -> Tensor:
        """The step's loss; its gradients are at the parameters."""
        shapes = tuple(argument.shape for argument in arguments)
        self.calls[shapes] += 1
        if self.calls[shapes] <= AS_IT_IS or self.refused:
            return self._as_it_is(arguments)
        if shapes not in self.graphs:
            try:
                self.graphs[shapes] = self._record(arguments)
            except RuntimeError as error:
                self.refused = True
                why = reason(error)[:100]
                print(f"train: the step can't be a CUDA graph, so it runs slower ({why})", file=sys.stderr, flush=True)
                return self._as_it_is(arguments)
        graph, (*inputs, loss), gradients = self.graphs[shapes]
        for place, argument in zip(inputs, arguments, strict=True):
            place.copy_(argument)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _as_it_is(self, arguments: tuple[Tensor, ...]) -> Tensor:
        # Aside, since a recording must not meet what an earlier step left on its stream.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no hints there
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _record(self, arguments: tuple[Tensor, ...]) -> Graph:
        inputs, graph = [argument.clone() for argument in arguments], torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.step(*inputs)
        return graph, [*inputs, loss], [parameter.grad for parameter in self.parameters]


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
    runtime = Runtime(device, precision, threads, processes.number())
    torch.set_num_threads(runtime.threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Only a warning, because smp's bilinear decoders have no deterministic backward pass on CUDA.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads what it hasn't written, and filling memory beforehand takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
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

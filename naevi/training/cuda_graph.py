"""Record a training step as one CUDA graph and replay it."""

import logging
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from naevi.errors import describe_error
from naevi.models.device import ComputeSettings

logger = logging.getLogger(__name__)

Step = Callable[..., Tensor]
# A graph, its arguments followed by its loss, and the gradients that it writes.
CapturedGraph = tuple[torch.cuda.CUDAGraph, list[Tensor], list[Tensor | None]]
WARMUP_CALLS = 2  # calls of each shape before it is recorded


def capture_step(step: Step, network: nn.Module, compute: ComputeSettings) -> Step:
    """Return a step that is replayed as one CUDA graph on a single GPU; elsewhere the step itself.

    The step leaves gradients at the network's parameters.
    """
    single_gpu = compute.device == "cuda" and compute.processes == 1
    return CudaGraphStep(step, list(network.parameters())) if single_gpu else step


class CudaGraphStep:
    """A step whose kernels are recorded as one CUDA graph and then replayed, so that no kernel waits for its launch.

    The same kernels run in the same order. So the bytes are those of the step, and it is three to four times as fast
    (docs/experiments.md). There is one graph for each shape of the arguments. The first calls of a shape run without a
    graph, because everything that is created lazily must exist before the recording. The next call overwrites the
    returned loss. A step that can't be recorded, because the CPU needs a value before it can continue, runs without a
    graph.
    """

    def __init__(self, step: Step, parameters: list[nn.Parameter]) -> None:
        self.step, self.parameters = step, parameters
        self.calls: Counter[tuple[torch.Size, ...]] = Counter()
        self.graphs: dict[tuple[torch.Size, ...], CapturedGraph] = {}
        self.failed = False

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return the step's loss; its gradients are at the parameters."""
        shapes = tuple(argument.shape for argument in arguments)
        self.calls[shapes] += 1
        if self.calls[shapes] <= WARMUP_CALLS or self.failed:
            return self._run_directly(arguments)
        if shapes not in self.graphs:
            try:
                self.graphs[shapes] = self._record(arguments)
            except RuntimeError as error:
                self.failed = True
                why = describe_error(error)[:100]
                logger.warning("The training step can't be recorded as a CUDA graph and runs slower (%s).", why)
                return self._run_directly(arguments)
        graph, (*inputs, loss), gradients = self.graphs[shapes]
        for graph_input, argument in zip(inputs, arguments, strict=True):
            graph_input.copy_(argument)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _run_directly(self, arguments: tuple[Tensor, ...]) -> Tensor:
        # On a stream of its own, because a recording must not meet what an earlier step left on its stream.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no hints there
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _record(self, arguments: tuple[Tensor, ...]) -> CapturedGraph:
        inputs, graph = [argument.clone() for argument in arguments], torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.step(*inputs)
        return graph, [*inputs, loss], [parameter.grad for parameter in self.parameters]

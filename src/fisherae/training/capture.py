"""A whole training step as one CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["CapturedStep", "set_capturable"]

WARM_UP = 3


class CapturedStep:
    """Records a step on the GPU and then replays it: one launch instead of one for each kernel.

    The first steps run as they are, for libraries choose their kernels then; they count like all
    others. What the host computes is fixed when a step is recorded, so that another shape of the
    images or another learning rate begins anew. Random numbers are drawn on, as without a graph.

    Arguments:
        step: images on the GPU to a tensor of what is to be known of the step; it waits for the
            device nowhere, and gradients are made anew in it.
        optimizer: that `step` uses; `set_capturable`.

    References:
        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, step: Callable[[Tensor], Tensor], optimizer: Optimizer):
        self.step, self.optimizer = step, optimizer
        self.recorded_for: object = None
        self.warmed_up = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor) -> Tensor:
        asked_for = (images.shape, [group["lr"] for group in self.optimizer.param_groups])
        if asked_for != self.recorded_for:
            self.recorded_for, self.warmed_up, self.graph = asked_for, 0, None
        if self.warmed_up < WARM_UP:
            self.warmed_up += 1
            return self._aside(images)
        if self.graph is None:
            self._record(images)
            assert self.graph is not None
        self.images.copy_(images)
        self.graph.replay()
        return self.result.clone()

    def _aside(self, images: Tensor) -> Tensor:
        """A step on a stream of its own, as a recording is made on."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self.step(images)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, images: Tensor) -> None:
        self.images = images.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.step(self.images)


def set_capturable(optimizer: Optimizer, capturable: bool) -> None:
    """Lets Adam count its steps on the GPU, as a recorded step must, or on the host.

    Of an optimizer that has begun, what it has counted is moved. A fused one counts beside its
    parameters anyway.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.Adam([weight])
        >>> set_capturable(optimizer, True)
        >>> optimizer.param_groups[0]["capturable"]
        True
    """
    for group in optimizer.param_groups:
        if "capturable" not in group:
            continue  # counts no steps
        group["capturable"] = capturable
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                beside = capturable or group.get("fused")
                state["step"] = state["step"].to(parameter.device if beside else "cpu")

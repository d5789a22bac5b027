"""Two parts of a step, neither of which needs the other, side by side on a GPU."""

from typing import Any

import torch

__all__ = ["Beside"]


class Beside:
    """What is launched inside needs only what was launched before this was made: in a step that is
    recorded as a CUDA graph it becomes a branch of its own, gradients included, and runs beside
    what was launched in between. Elsewhere nothing changes.

    Small kernels leave most of a GPU idle, which two branches use. Outside of a recording the host
    launches one kernel after the other in any case.

    References:
        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs

    Example:
        >>> beside = Beside()
        >>> one = torch.ones(2).sum()
        >>> with beside:
        ...     other = torch.zeros(2).sum()
        >>> one + other
        tensor(2.)
    """

    def __init__(self) -> None:
        self.branch: Any = None  # of types that torch leaves out
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            stream: Any = torch.cuda.Stream
            self.branch, self.trunk = stream(), torch.cuda.current_stream()
            self.branch.wait_stream(self.trunk)

    def __enter__(self) -> None:
        if self.branch is not None:
            torch.cuda.set_stream(self.branch)

    def __exit__(self, *error: object) -> None:
        if self.branch is not None:
            torch.cuda.set_stream(self.trunk)
            self.trunk.wait_stream(self.branch)

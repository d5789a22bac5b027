"""What functions with derivatives of their own share."""

from typing import Any

from torch.autograd import Function

__all__ = ["OfInputs"]


class OfInputs(Function):
    """Derivatives that need the inputs only, in both modes and under the transforms of torch."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

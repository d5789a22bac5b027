r"""Layers whose gradient is cheap to differentiate.

The score of an encoder or a decoder is a gradient, which training differentiates once more. PyTorch
computes batch normalisation and SiLU, and their gradients, in one pass over the maps each, but the
derivatives of these gradients in some sixty and twenty; here in nine each. Its asinh is slow on a
CPU, by itself as dear as all that training makes of SiLU. The derivative of a convolution's
gradient is the gradient of a weight, for which GPUs have fast kernels; PyTorch computes it as a
convolution of maps with maps, for which they have none.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fisherae.functions import OfInputs

__all__ = ["Asinh", "BatchNorm1d", "BatchNorm2d", "Conv2d", "ConvTranspose2d", "SiLU"]

How = tuple[Any, ...]
"""Of a convolution: stride, padding, dilation, whether it is transposed, output padding, groups."""


class _Normalized(Function):
    r"""y = w x̂ + b with x̂ = (x − m) r, m and v the mean and variance over all but the channels,
    r = (v + ε)^−½."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *how: Any) -> Tensor:
        running_mean, running_variance, momentum, ctx.eps = how
        y, mean, r = torch.native_batch_norm(
            x, weight, bias, running_mean, running_variance, True, momentum, ctx.eps
        )
        ctx.save_for_backward(x, weight, mean, r)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        passed: Any = _Gradient.apply(g, *ctx.saved_tensors, ctx.eps)  # type: ignore[no-untyped-call]
        return *passed, None, None, None, None


class _Gradient(Function):
    r"""What `_Normalized` makes of the gradient g that comes to it. With ⟨·⟩ the mean over all but
    the channels, of n terms each, it passes on

        to x: B(g) = w r (g − ⟨g⟩ − x̂ ⟨g x̂⟩),     to w: n ⟨g x̂⟩,     to b: n ⟨g⟩.

    Of u, t and s, the gradients that come to these three, its own derivative passes on

        to g: B(u) + t x̂ + s,     to w: n r Q   with Q = ⟨u g⟩ − ⟨u⟩⟨g⟩ − ⟨u x̂⟩⟨g x̂⟩,
        to x: −r (⟨g x̂⟩ B(u) + ⟨u x̂⟩ B(g) + w r Q x̂) + t r (g − ⟨g⟩ − x̂ ⟨g x̂⟩),

    since B is symmetric, ∂r/∂x = −r² x̂ / n and n ∂⟨g x̂⟩/∂x = r (g − ⟨g⟩ − x̂ ⟨g x̂⟩).
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float
    ) -> Any:
        passed = _passed_on(g, x, weight, mean, r, eps)
        ctx.save_for_backward(g, x, weight, mean, r, *passed)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return passed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, t: Tensor | None, s: Tensor | None) -> Any:
        g, x, weight, mean, r, b_g, n_gx, n_g = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        along = (1, -1, *[1] * (x.dim() - 2))
        for_g: Any = None
        for_x: Any = None
        for_weight: Any = None
        if u is not None:
            for_g, n_ux, n_u = _passed_on(u, x, weight, mean, r, ctx.eps)
            axes = [axis for axis in range(x.dim()) if axis != 1]
            n_q = (u * g).sum(axes, dtype=r.dtype).addcmul_(n_u, n_g, value=-1 / n)
            for_weight = n_q.addcmul_(n_ux, n_gx, value=-1 / n).mul_(r)
            scale = r / -n
            of_b_u, of_b_g, of_x = (
                (scale * one).view(along) for one in (n_gx, n_ux, weight * r * for_weight)
            )
            for_x = (x - mean.view(along)).mul_(of_x)
            for_x.addcmul_(of_b_u, for_g).addcmul_(of_b_g, b_g)
        if t is not None:
            normalized, t = (x - mean.view(along)) * r.view(along), t.view(along)
            centred = g - (n_g / n).view(along) - normalized * (n_gx / n).view(along)
            for_g = _sum(for_g, t * normalized)
            for_x = _sum(for_x, t * r.view(along) * centred)
        if s is not None:
            for_g = _sum(for_g, s.view(along).expand_as(g))
        for_g, for_x = (None if one is None else one.to(x) for one in (for_g, for_x))
        return for_g, for_x, for_weight, None, None, None


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other


def _passed_on(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """B(g), n ⟨g x̂⟩ and n ⟨g⟩, in one pass."""
    passed: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        g, x, weight, None, None, mean, r, True, eps, [True, True, True]
    )
    return passed


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    # Written once for both; `_check_input_dim` is theirs.
    def forward(self, x: Tensor) -> Tensor:
        differentiated = self.training and torch.is_grad_enabled()
        # One value has no variance, which PyTorch says.
        if not differentiated or self.momentum is None or x.numel() == x.shape[1]:
            return super().forward(x)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        running = self.running_mean, self.running_var
        y: Tensor = _Normalized.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, *running, self.momentum, self.eps
        )
        return y


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    r"""PyTorch's, of (batch, channels); see the module.

    Example:
        >>> BatchNorm1d(8)(torch.rand(4, 8)).shape
        torch.Size([4, 8])
    """


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    r"""PyTorch's, of (batch, channels, height, width); see the module.

    Example:
        >>> BatchNorm2d(8)(torch.rand(4, 8, 5, 5)).shape
        torch.Size([4, 8, 5, 5])
    """


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, how: How) -> Tensor:
    r"""w ∗ x + b.

    What passes the gradient on to x and what passes it on to w and b are two functions, since
    autograd asks a function for all its gradients, and a score is asked of x alone. Each has the
    inputs of the other in a tuple, which autograd does not look into.
    """
    y: Tensor = _ToInputs.apply(x, (weight, bias), how)  # type: ignore[no-untyped-call]
    nothing = _ToWeights.apply(weight, bias, (x, y.shape), how)  # type: ignore[no-untyped-call]
    joined: Tensor = _Joined.apply(y, nothing)  # type: ignore[no-untyped-call]
    return joined


class _ToInputs(Function):
    """w ∗ x + b, which passes a gradient on to x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, others: tuple[Tensor, Tensor | None], how: How) -> Tensor:
        weight, bias = others
        ctx.save_for_backward(x, weight)
        ctx.how = how
        y: Tensor = torch.ops.aten.convolution(x, weight, bias, *how)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        # Of x, only its shape and layout count.
        passed: Any = _ConvolutionGradient.apply(g, weight, x.detach(), ctx.how)  # type: ignore[no-untyped-call]
        return passed, None, None


class _ConvolutionGradient(Function):
    r"""The gradient wᵀ ∗ g that comes to an input like x. As ⟨u, wᵀ ∗ g⟩ = ⟨w ∗ u, g⟩, the
    derivative of this passes on, of u, w ∗ u to g, and to w what a convolution of u would have."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, x: Tensor, how: How) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.how = how
        passed: Tensor = _gradients(g, x, weight, how, [True, False, False])[0]
        return passed

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        g, weight = ctx.saved_tensors
        for_g = for_weight = None
        if ctx.needs_input_grad[0]:
            for_g = torch.ops.aten.convolution(u, weight, None, *ctx.how)
        if ctx.needs_input_grad[1]:
            for_weight = _gradients(g, u, weight, ctx.how, [False, True, False])[1]
        return for_g, for_weight, None, None


class _ToWeights(Function):
    """Nothing, to be joined to w ∗ x + b, whose gradient it passes on to w and b."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, seen: tuple[Tensor, torch.Size], how: How
    ) -> Tensor:
        x, shape = seen
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return x.new_empty(()).expand(shape)  # no one reads it

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = [False, *ctx.needs_input_grad[:2]]
        _, for_weight, for_bias = _gradients(g, x, weight, ctx.how, wanted)
        return for_weight, for_bias, None, None


class _Joined(Function):
    """y, whose gradient goes to both."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, nothing: Tensor) -> Tensor:
        ctx.mark_dirty(y)  # which it is not; else it would be a view, that nothing may change
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, g


def _gradients(g: Tensor, x: Tensor, weight: Tensor, how: How, wanted: list[bool]) -> Any:
    """Of a convolution, to x, w and b; g has a map for each element of b."""
    return torch.ops.aten.convolution_backward(g, x, weight, [g.shape[1]], *how, wanted)


class _Convolution(nn.modules.conv._ConvNd):
    # Written once for both.
    def suits(self, x: Tensor) -> bool:
        """Where `convolved` is quicker, and does all that PyTorch's layer would: on a processor it
        is not, and without a gradient there is nothing to differentiate."""
        differentiated = self.training and torch.is_grad_enabled()
        usual = x.dim() == 4 and self.padding_mode == "zeros" and isinstance(self.padding, tuple)
        return x.is_cuda and differentiated and usual and not torch.compiler.is_compiling()

    def convolve(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        device = x.device.type
        if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        how = (
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )
        with torch.autocast(device, enabled=False):
            return convolved(x, weight, bias, how)


class Conv2d(_Convolution, nn.Conv2d):
    r"""PyTorch's; see the module. In training on a GPU it is closed to the transforms of
    `torch.func`, as batch normalisation is everywhere.

    Example:
        >>> Conv2d(1, 8, 3, padding=1)(torch.rand(4, 1, 5, 5)).shape
        torch.Size([4, 8, 5, 5])
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x) if self.suits(x) else super().forward(x)


class ConvTranspose2d(_Convolution, nn.ConvTranspose2d):
    r"""PyTorch's; see `Conv2d`.

    Example:
        >>> ConvTranspose2d(8, 1, 3, padding=1)(torch.rand(4, 8, 5, 5)).shape
        torch.Size([4, 1, 5, 5])
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        usual = output_size is None and self.suits(x)
        return self.convolve(x) if usual else super().forward(x, output_size)


class _Activation(OfInputs):
    """f(x), whose `gradient` is g f′(x): backwards, and forwards along g."""

    gradient: type[Function]

    @classmethod
    def backward(cls, ctx: Any, g: Tensor) -> Any:
        return cls.gradient.apply(g, *ctx.saved_tensors)  # type: ignore[no-untyped-call]

    jvp = backward


class _GradientOfInputs(OfInputs):
    """g f′(x), of which `backward` has the derivatives."""

    @classmethod
    def jvp(cls, ctx: Any, along_g: Tensor, along_x: Tensor) -> Any:
        for_g, for_x = cls.backward(ctx, torch.ones_like(along_g))
        return along_g * for_g + along_x * for_x


class _SiLUGradient(_GradientOfInputs):
    r"""g f′(x). Of u, which comes for it, its derivative passes on u f′(x) to g and u g f″(x) to x,
    where f″ = σ (1 − σ) (2 + x (1 − 2σ))."""

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        passed: Tensor = torch.ops.aten.silu_backward(g, x)
        return passed

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        g, x = ctx.saved_tensors
        sigmoid = x.sigmoid()
        rest = (2 + x * (1 - 2 * sigmoid)) * u * g
        for_x = torch.ops.aten.sigmoid_backward(rest, sigmoid)  # times σ (1 − σ)
        return torch.ops.aten.silu_backward(u, x), for_x


class _SiLU(_Activation):
    r"""f(x) = x σ(x)."""

    gradient = _SiLUGradient

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return nn.functional.silu(x)


class SiLU(nn.SiLU):
    r"""PyTorch's, x σ(x); see the module.

    Example:
        >>> SiLU()(torch.tensor([0.0, 10.0]))
        tensor([0.0000, 9.9995])
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        y: Tensor = _SiLU.apply(x)  # type: ignore[no-untyped-call]
        return y


class _AsinhGradient(_GradientOfInputs):
    r"""g f′(x). Of u, which comes for it, its derivative passes on u f′(x) to g and u g f″(x) to x,
    where f′ = (1 + x²)^−½ and f″ = −x f′³."""

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        return g / _root(x)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        g, x = ctx.saved_tensors
        slope = _root(x).reciprocal()
        for_g = u * slope
        return for_g, -x * slope.square() * for_g * g


def _root(x: Tensor) -> Tensor:
    """√(1 + x²)."""
    return torch.hypot(x, x.new_ones(()))


class _Asinh(_Activation):
    r"""f(x) = log(|x| + √(1 + x²)) sign x, with log(1 + …) exact also near zero."""

    gradient = _AsinhGradient

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs()
        return size.addcmul_(size, size / (_root(x) + 1)).log1p_().copysign_(x)


class Asinh(nn.Module):
    r"""asinh(x) = log(x + √(1 + x²)); see the module.

    Odd, like tanh: at zero it has no curvature, by which noise would shift what follows. But its
    slope never vanishes, where tanh's does, and with it the gradient of a unit that saturates.

    Example:
        >>> Asinh()(torch.tensor([-1.0, 0.0, 10.0]))
        tensor([-0.8814,  0.0000,  2.9982])
    """

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Asinh.apply(x)  # type: ignore[no-untyped-call]
        return y

"""The same as PyTorch's layers, up to the second derivative."""

import copy
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from fisherae.networks import twice
from fisherae.networks.twice import Asinh, BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose2d, SiLU

SHAPES = [(5, 3), (4, 3, 2, 3)]
Pair = tuple[nn.Module, nn.Module]


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Pair:
    """Ours and PyTorch's, of the same weights."""
    torch.manual_seed(0)
    ours, theirs = (
        (BatchNorm1d, nn.BatchNorm1d) if len(shape) == 2 else (BatchNorm2d, nn.BatchNorm2d)
    )
    one = ours(shape[1]).to(dtype)
    nn.init.normal_(one.weight)
    nn.init.normal_(one.bias)
    other = theirs(shape[1]).to(dtype)
    other.load_state_dict(one.state_dict())
    return one, other


def derivatives(layer: nn.Module, x: Tensor, of_weights: bool) -> list[Tensor]:
    """The output, its gradients, and the gradient of their square, for any weights of the sums."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    y = layer(x.square())
    inputs = [x, *layer.parameters()] if of_weights else [x]
    first = torch.autograd.grad(
        (y.sigmoid() * torch.randn_like(y)).sum(), inputs, create_graph=True
    )
    total = sum((part * torch.randn_like(part)).sin().sum() for part in first)
    second = torch.autograd.grad(total, [x, *layer.parameters()])
    return [y, *first, *second, *layer.buffers()]


@pytest.mark.parametrize("of_weights", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_two_derivatives_are_those_of_pytorch(shape: tuple[int, ...], of_weights: bool) -> None:
    one, other = pair(shape)
    x = torch.randn(shape, dtype=torch.float64)
    for _ in range(2):  # the running statistics move on
        torch.testing.assert_close(
            derivatives(one, x, of_weights), derivatives(other, x, of_weights), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_finite_differences(shape: tuple[int, ...]) -> None:
    layer, _ = pair(shape)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def normalized(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(copy.deepcopy(layer), {"weight": weight, "bias": bias}, x)

    inputs = (x, *(p.detach().clone().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(normalized, inputs)
    assert torch.autograd.gradgradcheck(normalized, inputs)


def test_bfloat16_maps_in_the_layout_of_their_images() -> None:
    one, other = pair((8, 4, 5, 5), torch.float32)
    x = torch.randn(8, 4, 5, 5).bfloat16().to(memory_format=torch.channels_last)
    for ours, theirs in zip(derivatives(one, x, False), derivatives(other, x, False), strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_without_a_gradient_it_is_pytorchs() -> None:
    one, other = pair((4, 3, 2, 3))
    x = torch.randn(4, 3, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(one(x), other(x), rtol=0, atol=0)
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=0, atol=0)


def test_one_value_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm1d(3)(torch.randn(1, 3))


CONVOLUTIONS: dict[str, tuple[type[nn.Module], type[nn.Module], dict[str, Any]]] = {
    "usual": (Conv2d, nn.Conv2d, {"stride": 2, "padding": 1}),
    "without bias": (Conv2d, nn.Conv2d, {"groups": 2, "dilation": 2, "bias": False}),
    "transposed": (ConvTranspose2d, nn.ConvTranspose2d, {"stride": 2, "output_padding": 1}),
}


@pytest.fixture(params=CONVOLUTIONS)
def convolutions(request: pytest.FixtureRequest) -> Pair:
    """Ours and PyTorch's, of the same weights in float64."""
    torch.manual_seed(0)
    ours, theirs, how = CONVOLUTIONS[request.param]
    one, other = (kind(2, 4, 3, **how).double() for kind in (ours, theirs))
    other.load_state_dict(one.state_dict())
    return one, other


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our convolutions on the CPU too, which else leaves them to PyTorch."""
    monkeypatch.setattr(twice._Convolution, "suits", lambda self, x: torch.is_grad_enabled())


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("of_weights", [False, True])
def test_two_derivatives_of_a_convolution(convolutions: Pair, of_weights: bool) -> None:
    x = torch.randn(4, 2, 7, 6, dtype=torch.float64)
    ours, theirs = (derivatives(layer, x, of_weights) for layer in convolutions)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("everywhere")
def test_finite_differences_of_a_convolution(convolutions: Pair) -> None:
    layer, _ = convolutions
    names, values = zip(*layer.named_parameters(), strict=True)

    def convolved(x: Tensor, *weights: Tensor) -> Tensor:
        parameters = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(layer, parameters, x)

    x = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    inputs = (x, *(value.detach().clone().requires_grad_() for value in values))
    assert torch.autograd.gradcheck(convolved, inputs)
    assert torch.autograd.gradgradcheck(convolved, inputs)


@pytest.fixture
def computed(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of x, w and b gradients have been computed for, call by call."""
    calls: list[str] = []
    gradients = twice._gradients

    def noted(*arguments: Any) -> Any:
        calls.append("".join(name for name, one in zip("xwb", arguments[-1], strict=True) if one))
        return gradients(*arguments)

    monkeypatch.setattr(twice, "_gradients", noted)
    return calls


def test_no_gradient_is_computed_in_vain(convolutions: Pair, computed: list[str]) -> None:
    layer, _ = convolutions
    weights = "".join(name[0] for name, _ in layer.named_parameters())
    x = torch.randn(2, 2, 7, 6, dtype=torch.float64)
    layer(x).sum().backward()
    assert computed == [weights]  # not of images
    computed.clear()
    x.requires_grad_()
    (score,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    assert computed == ["x"]  # not of weights
    computed.clear()
    score.square().sum().backward()
    assert sorted(computed) == sorted(["w", "x", weights])
    computed.clear()
    layer.requires_grad_(False)
    (score,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    score.square().sum().backward()
    assert computed == ["x", "x"]  # not of frozen weights


@pytest.mark.usefixtures("everywhere")
def test_nothing_is_held_after_a_backward_pass(convolutions: Pair) -> None:
    layer, _ = convolutions
    maps = torch.randn(2, 2, 7, 6, dtype=torch.float64, requires_grad=True).sin()
    held = weakref.ref(maps)
    loss = layer(maps).sum()
    del maps
    loss.backward()
    assert held() is None


@pytest.mark.usefixtures("everywhere")
@pytest.mark.filterwarnings("ignore:.*lower precision:UserWarning")
def test_convolutions_under_autocast(convolutions: Pair) -> None:
    layers = [copy.deepcopy(layer).float() for layer in convolutions]
    x = torch.randn(4, 2, 7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (derivatives(layer, x, of_weights=False) for layer in layers)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("change", "suits"),
    [
        ({}, True),
        ({"is_cuda": False}, False),
        ({"training": False}, False),
        ({"gradient": False}, False),
        ({"padding_mode": "reflect"}, False),
        ({"padding": "same"}, False),
        ({"dims": 3}, False),
    ],
    ids=str,
)
def test_where_pytorchs_convolution_is_replaced(change: dict[str, Any], suits: bool) -> None:
    how = {name: change[name] for name in ("padding", "padding_mode") if name in change}
    layer = Conv2d(1, 1, 3, **how).train(change.get("training", True))
    image = SimpleNamespace(is_cuda=change.get("is_cuda", True), dim=lambda: change.get("dims", 4))
    with torch.set_grad_enabled(change.get("gradient", True)):
        assert layer.suits(cast(Tensor, image)) is suits


def test_what_is_not_replaced_is_pytorchs(convolutions: Pair) -> None:
    x = torch.randn(4, 2, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(*(layer(x) for layer in convolutions), rtol=0, atol=0)
    up = ConvTranspose2d(2, 4, 3, stride=2)
    assert up(torch.randn(4, 2, 7, 6), output_size=[16, 14]).shape[2:] == (16, 14)


@pytest.mark.gpu
@pytest.mark.parametrize("of_weights", [False, True])
def test_two_derivatives_of_a_convolution_on_a_gpu(convolutions: Pair, of_weights: bool) -> None:
    x = torch.randn(4, 2, 7, 6, dtype=torch.float64).cuda()
    ours, theirs = (derivatives(layer.cuda(), x, of_weights) for layer in convolutions)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


class TheirAsinh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x)


ACTIVATIONS = {"silu": (SiLU(), nn.SiLU()), "asinh": (Asinh(), TheirAsinh())}


@pytest.fixture(params=ACTIVATIONS)
def activations(request: pytest.FixtureRequest) -> Pair:
    """Ours and PyTorch's."""
    return ACTIVATIONS[request.param]


def test_two_derivatives_of_an_activation_are_those_of_pytorch(activations: Pair) -> None:
    x = 3 * torch.randn(50, dtype=torch.float64)
    ours, theirs = (derivatives(layer, x, of_weights=False) for layer in activations)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_keep_small_and_large_numbers(activations: Pair, dtype: torch.dtype) -> None:
    ours, theirs = activations
    x = torch.tensor([0.0, -0.0, 1e-20, -1e-4, 0.1, -3.0, 1e4, -1e4, 1e25]).to(dtype)
    assert ours(x).dtype == dtype
    rounding = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours(x), theirs(x.double()).to(dtype), atol=0, rtol=rounding)


def test_finite_differences_of_an_activation(activations: Pair) -> None:
    layer, _ = activations
    x = (3 * torch.randn(20, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("name", ["jacrev", "jacfwd", "hessian"])
def test_activations_under_the_transforms_of_torch_func(activations: Pair, name: str) -> None:
    transform: Callable[..., Any] = getattr(torch.func, name)
    x = torch.randn(5, 3, dtype=torch.float64)
    ours, theirs = (
        transform(lambda x, layer=layer: layer(x).sigmoid().square().sum(0))(x)
        for layer in activations
    )
    torch.testing.assert_close(ours, theirs)

"""What every network promises, for all of them."""

import json
from functools import partial
from math import prod
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from fisherae import networks
from fisherae.errors import InputError
from fisherae.networks.layers import activation
from fisherae.networks.registry import Network
from fisherae.recipes.config import Activation

GRAY, DIGIT, COLOR, TABLE = (1, 28, 28), (1, 8, 8), (3, 64, 64), (7,)
DIM = 3

# spec, shape of one input, shape of one output
CASES = [
    ({"network": "mnist.encoder"}, GRAY, (16,)),
    ({"network": "mnist.encoder", "dim": DIM, "outputs_per_dim": 1}, GRAY, (DIM,)),
    ({"network": "mnist.encoder", "normalization": "none", "activation": "silu"}, GRAY, (16,)),
    ({"network": "mnist.encoder", "normalization": "group", "activation": "gelu"}, GRAY, (16,)),
    ({"network": "mnist.decoder"}, (8,), GRAY),
    ({"network": "mnist.decoder", "dim": DIM, "normalization": "none"}, (DIM,), GRAY),
    ({"network": "mnist.discriminator"}, (8,), ()),
    ({"network": "celeba.encoder", "dim": DIM}, COLOR, (2 * DIM,)),
    ({"network": "celeba.decoder", "dim": DIM}, (DIM,), COLOR),
    ({"network": "celeba.discriminator"}, (64,), ()),
    ({"network": "mlp.encoder", "shape": GRAY, "dim": DIM}, GRAY, (2 * DIM,)),
    ({"network": "mlp.encoder", "shape": TABLE, "dim": DIM, "hidden": ()}, TABLE, (2 * DIM,)),
    (
        {"network": "mlp.encoder", "shape": TABLE, "dim": DIM, "normalization": "batch"},
        TABLE,
        (2 * DIM,),
    ),
    (
        {"network": "mlp.encoder", "shape": TABLE, "dim": DIM, "normalization": "group"},
        TABLE,
        (2 * DIM,),
    ),
    ({"network": "mlp.decoder", "shape": GRAY, "dim": DIM}, (DIM,), GRAY),
    (
        {"network": "mlp.decoder", "shape": TABLE, "dim": DIM, "output": "linear", "hidden": (9,)},
        (DIM,),
        TABLE,
    ),
    ({"network": "mlp.discriminator", "dim": DIM, "hidden": (5, 4)}, (DIM,), ()),
    ({"network": "small.encoder", "shape": DIGIT, "dim": DIM}, DIGIT, (2 * DIM,)),
    ({"network": "small.encoder", "shape": (3, 12, 32), "dim": DIM}, (3, 12, 32), (2 * DIM,)),
    ({"network": "small.decoder", "shape": DIGIT, "dim": DIM}, (DIM,), DIGIT),
    ({"network": "small.decoder", "shape": (3, 12, 32), "dim": DIM}, (DIM,), (3, 12, 32)),
]
contract = pytest.mark.parametrize(
    ("spec", "input_size", "output_size"), CASES, ids=lambda value: str(value)
)


def inputs(size: tuple[int, ...], batch: int = 3) -> Tensor:
    return torch.randn(batch, *size, generator=torch.manual_seed(1), dtype=torch.float64)


def network(spec: dict[str, object]) -> Network:
    torch.manual_seed(0)
    return networks.build(spec).double()


@contract
def test_shape_and_dtype(spec, input_size, output_size):
    for batch in (1, 3):
        y = network(spec).eval()(inputs(input_size, batch))
        assert y.shape == (batch, *output_size)
        assert y.dtype == torch.float64


@contract
def test_gradient_reaches_every_parameter(spec, input_size, output_size):
    # In eval mode: before a batch normalisation in training mode, a bias has no effect.
    net = network(spec).eval()
    net(inputs(input_size)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


@contract
def test_gradient_of_the_input_gradient_reaches_every_weight(spec, input_size, output_size):
    # Biases are left out: the input gradient of a (piecewise) linear network does not know them.
    net = network(spec).train()
    x = inputs(input_size).requires_grad_()
    y = net(x)
    (score,) = torch.autograd.grad(y, x, torch.randn_like(y), create_graph=True)
    score.square().sum().backward()
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    assert [name for name, p in weights.items() if p.grad is None or not p.grad.any()] == []


@contract
def test_eval_treats_each_image_alone(spec, input_size, output_size):
    net = network(spec)
    x = inputs(input_size)
    net(x)  # one training pass, so that batch statistics are not the trivial ones
    net.eval()
    alone = torch.cat([net(one[None]) for one in x])
    torch.testing.assert_close(net(x), alone)
    assert not torch.equal(alone[0], alone[1])


@contract
def test_recipe_survives_json_and_takes_the_weights(spec, input_size, output_size):
    net = network(spec)
    again = networks.build(json.loads(json.dumps(net.spec))).double()
    assert again.spec == net.spec
    assert {argument: net.spec[argument] for argument in spec} == json.loads(json.dumps(spec))
    x = inputs(input_size)
    assert not torch.equal(net.eval()(x), again.eval()(x))
    again.load_state_dict(net.state_dict())
    assert torch.equal(net(x), again(x))


@contract
def test_wrong_input_shape_is_named(spec, input_size, output_size):
    wrong = (input_size[0] + 1, *input_size[1:])
    with pytest.raises(InputError, match=r"takes inputs of shape \(batch, .* got \(2, "):
        network(spec)(inputs(wrong, batch=2))


def test_recipe_holds_every_argument():
    assert networks.mlp.encoder((1, 8, 8), 2, hidden=(5,)).spec == {
        "network": "mlp.encoder",
        "shape": [1, 8, 8],
        "dim": 2,
        "outputs_per_dim": 2,
        "hidden": [5],
        "activation": "silu",
        "normalization": "none",
    }


def test_activations_are_what_they_are_called():
    """Every name that a recipe may give, by its formula."""
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    formulas = {
        "relu": x.clamp_min(0),
        "leaky_relu": torch.where(x > 0, x, 0.01 * x),
        "elu": torch.where(x > 0, x, x.exp() - 1),
        "silu": x / (1 + (-x).exp()),
        "gelu": x * (1 + torch.erf(x / 2**0.5)) / 2,
        "softplus": (1 + x.exp()).log(),
        "tanh": (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        "asinh": (x + (1 + x**2).sqrt()).log(),
    }
    assert set(get_args(Activation)) == {*formulas, "asinh-silu"}
    for name, expected in formulas.items():
        torch.testing.assert_close(activation(name)()(x), expected)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (networks.mnist.encoder, ["Asinh", "Asinh", "SiLU", "SiLU"]),
        (networks.celeba.encoder, ["Asinh", "Asinh", "SiLU", "SiLU"]),
        (partial(networks.small.encoder, (1, 8, 8), 2), ["Asinh", "Asinh", "SiLU"]),
        (partial(networks.mlp.encoder, (1, 8, 8), 2), ["Asinh", "SiLU"]),
        (partial(networks.mlp.encoder, (1, 8, 8), 2, hidden=(5, 5, 5)), ["Asinh", "Asinh", "SiLU"]),
    ],
)
def test_two_activations(encoder, expected):
    """The first in the first half of the layers; the one in the middle belongs to it."""
    built = [type(layer).__name__ for layer in encoder(activation="asinh-silu")]
    assert [name for name in built if name in ("Asinh", "SiLU")] == expected


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "linear"])
@pytest.mark.parametrize("family", [networks.mlp, networks.small])
def test_output_range(family, output):
    decoder = family.decoder((1, 8, 8), DIM, output=output).double()
    linear = nn.Sequential(
        *(layer for layer in decoder if not isinstance(layer, nn.Sigmoid | nn.Tanh))
    )
    z = 100 * inputs((DIM,))
    x, before = decoder(z), linear(z)
    expected = {"sigmoid": 1 / (1 + (-before).exp()), "tanh": before.tanh(), "linear": before}
    torch.testing.assert_close(x, expected[output])
    assert before.abs().max() > 1


@pytest.mark.parametrize("normalization", ["none", "group"])
@pytest.mark.parametrize("builder", [networks.mnist.encoder, networks.small.encoder])
def test_without_batch_normalization_training_treats_each_image_alone(builder, normalization):
    size = GRAY
    shape = {} if builder is networks.mnist.encoder else {"shape": size, "dim": DIM}
    net = builder(**shape, normalization=normalization).double().train()
    x = inputs(size).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[0].sum(), x)
    assert gradient[0].any()
    assert not gradient[1:].any()


def test_group_normalization_standardises_groups_of_sixteen_channels():
    group_norm = networks.build({"network": "mnist.encoder", "normalization": "group"}).double()[4]
    y = group_norm(inputs((128, 9, 9))).reshape(3, 8, prod((16, 9, 9)))
    torch.testing.assert_close(y.mean(-1), torch.zeros_like(y[..., 0]), atol=1e-12, rtol=0)
    torch.testing.assert_close(
        y.var(-1, correction=0), torch.ones_like(y[..., 0]), rtol=1e-4, atol=0
    )

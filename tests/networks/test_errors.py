"""What goes wrong is said with the name of the argument and what would be right."""

import pytest

from fisherae import networks
from fisherae.errors import InputError

SHAPE = [1, 8, 8]

BAD_SPECS = [
    ({"network": "mnist.encode"}, r"network 'mnist.encode' is not known.*mnist\.encoder.*small\."),
    ({"dim": 8}, r"network None is not known; choose one of: .*mlp\.encoder"),
    (
        {"network": "mnist.encoder", "latents": 8},
        r"mnist\.encoder: .*'latents'; its arguments are: dim, outputs_per_dim, normalization",
    ),
    (
        {"network": "mlp.decoder", "dim": 8},
        r"mlp\.decoder: missing .*'shape'; its arguments are: shape, dim",
    ),
    ({"network": "mnist.encoder", "dim": 0}, r"mnist\.encoder: dim must be a positive .* got 0"),
    ({"network": "mnist.decoder", "dim": 2.0}, r"mnist\.decoder: dim .* got 2\.0"),
    ({"network": "celeba.encoder", "dim": "8"}, r"celeba\.encoder: dim .* got '8'"),
    ({"network": "mnist.discriminator", "dim": True}, r"discriminator: dim .* got True"),
    ({"network": "mnist.encoder", "outputs_per_dim": 0}, r"outputs_per_dim must be a positive"),
    (
        {"network": "mnist.encoder", "normalization": "layer"},
        r"normalization 'layer' is not known; choose one of: none, batch, group",
    ),
    (
        {"network": "mnist.encoder", "activation": "asinh-swish"},
        r"activation 'swish' is not known; choose one of: relu, leaky_relu, .*silu",
    ),
    (
        {"network": "mnist.encoder", "activation": "asinh-"},
        r"activation '' is not known; choose one of: relu, leaky_relu, .*silu",
    ),
    (
        {"network": "celeba.decoder", "activation": "swish"},
        r"activation 'swish' is not known; choose one of: relu, leaky_relu, .*silu",
    ),
    (
        {"network": "mlp.decoder", "shape": SHAPE, "dim": 2, "output": "relu"},
        r"output 'relu' is not known; choose one of: sigmoid, tanh, linear",
    ),
    (
        {"network": "mlp.encoder", "shape": SHAPE, "dim": 2, "hidden": [4, 0]},
        r"mlp\.encoder: hidden must be a tuple of positive integers, got \[4, 0\]",
    ),
    ({"network": "mlp.encoder", "shape": SHAPE, "dim": 2, "hidden": 4}, r"hidden .* got 4"),
    ({"network": "mlp.encoder", "shape": 784, "dim": 2}, r"shape must be \(channels.* got 784"),
    ({"network": "mlp.encoder", "shape": [8, 8], "dim": 2}, r"or \(features,\), got \[8, 8\]"),
    ({"network": "mlp.encoder", "shape": [1, 8, -8], "dim": 2}, r"shape .* got \[1, 8, -8\]"),
    ({"network": "small.encoder", "shape": [1, 8, 10], "dim": 2}, r"shape .* divisible by 4"),
    ({"network": "small.decoder", "shape": [1, 6, 8], "dim": 2}, r"shape .* divisible by 4"),
    ({"network": "small.decoder", "shape": [64], "dim": 2}, r"shape .* got \(64,\)"),
]


@pytest.mark.parametrize(("spec", "message"), BAD_SPECS, ids=[str(spec) for spec, _ in BAD_SPECS])
def test_bad_recipe(spec, message):
    with pytest.raises(InputError, match=message):
        networks.build(spec)


def test_builders_check_as_build_does():
    with pytest.raises(InputError, match=r"mnist\.encoder: dim must be a positive integer, got -1"):
        networks.mnist.encoder(-1)
    with pytest.raises(InputError, match="divisible by 4"):
        networks.small.encoder((1, 28, 30), dim=2)


def test_a_wrong_argument_in_a_call_is_the_usual_python_error():
    with pytest.raises(TypeError, match="latents"):
        networks.mnist.encoder(latents=8)

"""Tables 2-5 of the paper, as printed, against the networks."""

import re

import pytest
import torch
from torch import Tensor, nn

from fisherae import networks
from fisherae.networks.layers import InputSize

MNIST_ENCODER = """
    Conv(1, 64, 3, 2, 2) LeakyReLU Conv(64, 128, 3, 2, 2) BN LeakyReLU
    Conv(128, 256, 3, 2, 2) BN, LeakyReLU Conv(256, 512, 3, 2, 1) BN, LeakyReLU
    Conv(512, 16, 3, 2, 0)
"""
MNIST_DECODER = """
    ConvT(8, 512, 5, 1, 1) BN, ReLU ConvT(512, 256, 5, 1, 1) BN, ReLU
    ConvT(256, 128, 5, 2, 1) BN, ReLU ConvT(128, 64, 5, 1, 1) BN, ReLU
    ConvT(64, 1, 4, 2, 0) Sigmoid
"""
DISCRIMINATOR = "FC(8, 256) ReLU FC(256, 1) Sigmoid"
CELEBA_ENCODER = """
    Conv(3, 64, 5, 1, 2) LeakyReLU, AvgPool(2, 2, 0)
    Conv(64, 128, 5, 1, 2) BN, LeakyReLU, AvgPool(2, 2, 0)
    Conv(128, 256, 5, 1, 2) BN, LeakyReLU, AvgPool(2, 2, 0)
    Conv(256, 512, 5, 1, 2) BN, LeakyReLU
    FC(8192, 64)
"""
CELEBA_DECODER = """
    BiI, Conv(64, 512, 5, 1, 02) BN, ReLU BiI, Conv(512, 256, 5, 1, 2) BN, ReLU
    BiI, Conv(256, 128, 5, 1, 2) BN, ReLU BiI, Conv(128, 64, 5, 1, 2) BN, ReLU
    BiI, Conv(64, 3, 5, 1, 2) Tanh
"""

# The four contradictions, and logits instead of probabilities.
FOURTH_POOLING = ("FC(8192, 64)", "AvgPool(2, 2, 0) FC(8192, 64)")
TWO_HEADS = ("FC(8192, 64)", "FC(8192, 128)")
MISPRINTED_PADDING = ("02", "2")
LATENTS_OF_CELEBA = ("FC(8,", "FC(64,")
LOGITS = ("Sigmoid", "")
ONE_OUTPUT = ("Conv(512, 16,", "Conv(512, 8,")  # with stride 2, as in Table 2

CASES = {
    "Table 2 encoder": (networks.mnist.encoder, {}, MNIST_ENCODER, []),
    "Table 3 encoder": (
        networks.mnist.encoder,
        {"outputs_per_dim": 1},
        MNIST_ENCODER,
        [ONE_OUTPUT],
    ),
    "Table 2 decoder": (networks.mnist.decoder, {}, MNIST_DECODER, []),
    "Table 3 discriminator": (networks.mnist.discriminator, {}, DISCRIMINATOR, [LOGITS]),
    "Table 4 encoder": (
        networks.celeba.encoder,
        {},
        CELEBA_ENCODER,
        [FOURTH_POOLING, TWO_HEADS],
    ),
    "Table 5 encoder": (
        networks.celeba.encoder,
        {"outputs_per_dim": 1},
        CELEBA_ENCODER,
        [FOURTH_POOLING],
    ),
    "Table 4 decoder": (networks.celeba.decoder, {}, CELEBA_DECODER, [MISPRINTED_PADDING]),
    "Table 5 discriminator": (
        networks.celeba.discriminator,
        {},
        DISCRIMINATOR,
        [LOGITS, LATENTS_OF_CELEBA],
    ),
}
tables = pytest.mark.parametrize(
    ("builder", "arguments", "table", "corrections"), CASES.values(), ids=CASES.keys()
)


def lines_of(table: str, corrections: list[tuple[str, str]]) -> list[str]:
    for printed, meant in corrections:
        assert printed in table
        table = table.replace(printed, meant)
    return re.findall(r"\w+\(.*?\)|\w+", table)


def in_the_notation_of_the_paper(layer: nn.Module) -> str | None:
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            kind = "Conv" if isinstance(layer, nn.Conv2d) else "ConvT"
            sides = (layer.kernel_size, layer.stride, layer.padding)
            assert all(rows == columns for rows, columns in sides)
            numbers = (layer.in_channels, layer.out_channels, *(side[0] for side in sides))
            return f"{kind}({', '.join(map(str, numbers))})"
        case nn.Linear():
            return f"FC({layer.in_features}, {layer.out_features})"
        case nn.AvgPool2d():
            return f"AvgPool({layer.kernel_size}, {layer.stride}, {layer.padding})"
        case nn.BatchNorm2d():
            return "BN"
        case nn.Upsample(mode="bilinear"):
            return "BiI"
        case nn.ReLU() | nn.LeakyReLU() | nn.Sigmoid() | nn.Tanh():
            return type(layer).__name__
        case InputSize() | nn.Flatten() | nn.Unflatten() | nn.Identity():
            return None
    raise AssertionError(f"no such layer in the tables: {layer}")


@tables
def test_line_by_line(builder, arguments, table, corrections):
    written = map(in_the_notation_of_the_paper, builder(**arguments))
    assert [line for line in written if line] == lines_of(table, corrections)


def parameters_of(lines: list[str]) -> int:
    """Kernels n_in n_out k², biases n_out; BN: one scale and one shift per channel."""
    total, channels = 0, 0
    for line in lines:
        if found := re.match(r"ConvT?\((\d+), (\d+), (\d+)", line):
            n_in, channels, k = map(int, found.groups())
            total += n_in * channels * k**2 + channels
        elif found := re.match(r"FC\((\d+), (\d+)", line):
            n_in, n_out = map(int, found.groups())
            total += n_in * n_out + n_out
        elif line == "BN":
            total += 2 * channels
    return total


@tables
def test_number_of_parameters(builder, arguments, table, corrections):
    count = sum(p.numel() for p in builder(**arguments).parameters())
    assert count == parameters_of(lines_of(table, corrections))


def sides(network: nn.Sequential, x: Tensor) -> list[int]:
    """The sides of the maps on the way, each named once."""
    seen: list[int] = []

    def note(layer: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
        if y.dim() == 4 and y.shape[-1] not in seen[-1:]:
            assert y.shape[-1] == y.shape[-2]
            seen.append(y.shape[-1])

    for layer in network:
        layer.register_forward_hook(note)
    network.eval()(x)
    return seen


@pytest.mark.parametrize(
    ("network", "size", "expected"),
    [
        (networks.mnist.encoder(), (1, 28, 28), [28, 15, 9, 6, 3, 1]),
        (networks.mnist.decoder(), (8,), [1, 3, 5, 11, 13, 28]),
        (networks.celeba.encoder(), (3, 64, 64), [64, 32, 16, 8, 4]),
        (networks.celeba.decoder(), (64,), [1, 4, 8, 16, 32, 64]),
    ],
    ids=["Table 2 encoder", "Table 2 decoder", "Table 4 encoder", "Table 4 decoder"],
)
def test_sides_of_the_maps(network, size, expected):
    assert sides(network, torch.zeros(1, *size)) == expected


def test_stride_of_the_last_mnist_convolution_does_not_matter():
    encoder = networks.mnist.encoder(outputs_per_dim=1).eval()
    x = torch.rand(2, 1, 28, 28)
    as_table_2 = encoder(x)
    encoder[-2].stride = (1, 1)
    assert torch.equal(encoder(x), as_table_2)

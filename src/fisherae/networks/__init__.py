"""Encoders, decoders and discriminators, by the name of the data they were drawn for.

Every builder returns a `Network`, a plain
`torch.nn.Sequential` that carries its own recipe:

Example:
    >>> encoder = mnist.encoder(dim=8)
    >>> encoder.spec["network"], encoder.spec["dim"]
    ('mnist.encoder', 8)
    >>> build(encoder.spec).spec == encoder.spec
    True
"""

from fisherae.networks import celeba, mlp, mnist, small
from fisherae.networks.registry import build

__all__ = ["build", "celeba", "mlp", "mnist", "small"]

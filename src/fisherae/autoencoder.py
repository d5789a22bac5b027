r"""The auto-encoder: an encoder q_φ(z|x), a decoder p_θ(x|z) and a prior p_η(z)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from fisherae import networks
from fisherae.counts import is_count
from fisherae.distributions import (
    BernoulliLikelihood,
    Delta,
    DiagonalGaussian,
    GaussianLikelihood,
    Likelihood,
    PolynomialPosterior,
    Posterior,
)
from fisherae.errors import InputError
from fisherae.files import read_json, read_tensors, write_atomically, write_json
from fisherae.networks.layers import full_precision, lookup
from fisherae.priors import (
    EnergyPrior,
    FactorablePolynomial,
    GaussianMixture,
    PairwisePolynomial,
    Prior,
    StandardNormal,
)
from fisherae.samplers import sample as sample_prior

__all__ = [
    "Autoencoder",
    "PosteriorName",
    "decoded",
    "device_of",
    "evaluating",
    "load",
    "posterior_of_order",
]

CONFIG, WEIGHTS = "config.json", "model.safetensors"

POSTERIORS: dict[str, type[DiagonalGaussian] | type[PolynomialPosterior] | type[Delta]] = {
    "gaussian": DiagonalGaussian,
    "polynomial": PolynomialPosterior,
    "delta": Delta,
}
PosteriorName = Literal["gaussian", "polynomial", "delta"]
LIKELIHOODS: dict[str, Callable[..., nn.Module]] = {
    "gaussian": GaussianLikelihood,
    "bernoulli": BernoulliLikelihood,
}
PRIORS: dict[str, Callable[..., Prior]] = {
    "energy": EnergyPrior,
    "factorable_polynomial": FactorablePolynomial,
    "gaussian_mixture": GaussianMixture,
    "pairwise_polynomial": PairwisePolynomial,
    "standard_normal": StandardNormal,
}
# What a model is made of, and how each part comes out of its readable configuration.
PARTS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "encoder": networks.build,
    "decoder": networks.build,
    "prior": lambda spec: _build(spec, "prior", PRIORS),
    "likelihood": lambda spec: _build(spec, "likelihood", LIKELIHOODS),
}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Autoencoder(nn.Module):
    r"""Encoder, decoder and prior; the three models of the paper differ only in these parts.

    Arguments:
        encoder: any module, images (batch, *event) to (batch, 2·dim): μ and log σ² (with
            `posterior="polynomial"`: (batch, K·dim), see `PolynomialPosterior.from_output`; with
            "delta": (batch, dim), the latent itself).
        decoder: any module, (batch, dim) to images (batch, *event): f_θ(z), the mean of p_θ(x|z).
            For a Bernoulli likelihood it must end in a sigmoid.
        prior: p_η(z); its `dim` is the model's.
        likelihood: "gaussian" (s² = 1), "bernoulli", or a module that makes a distribution of the
            decoder's output, such as `GaussianLikelihood(variance=0.1, learned=True)`.
        posterior: "gaussian"; "polynomial" for one of even order K, as many as the encoder has
            outputs per dimension; or "delta" for a deterministic encoder.

    Raises:
        InputError: for an unknown likelihood or posterior; in `encode` and `decode` when the
            networks' sizes do not match the prior's `dim`; in `encode` for a model in half
            precision, and for a single image where batch normalisation needs two to train.

    Example:
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(8, order=5))
        >>> x = torch.rand(4, 1, 28, 28)
        >>> model.encode(x).mean.shape, model.reconstruct(x).shape
        (torch.Size([4, 8]), torch.Size([4, 1, 28, 28]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        likelihood: Literal["gaussian", "bernoulli"] | nn.Module = "gaussian",
        posterior: PosteriorName = "gaussian",
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        if isinstance(likelihood, str):
            likelihood = lookup("likelihood", likelihood, LIKELIHOODS)()
        self.likelihood = likelihood
        self.posterior = lookup("posterior", posterior, POSTERIORS)

    @property
    def dim(self) -> int:
        r"""d, the number of latent dimensions."""
        return self.prior.dim

    def encode(self, x: Float[Tensor, "batch *event"]) -> Posterior:
        r"""q_φ(z|x) of each image: a `DiagonalGaussian` (or a `PolynomialPosterior`, a `Delta`)."""
        _check_batch(self, x)
        output = full_precision(self.encoder(x))
        given = output.shape[-1:].numel() // (2 * self.dim) * 2  # of a polynomial, which is even
        width = (self.posterior.outputs_per_dim or max(2, given)) * self.dim
        if output.shape != (len(x), width):
            raise InputError(
                f"the encoder returns shape {tuple(output.shape)} where a "
                f"{self.posterior.__name__} posterior with {self.dim} latent dimensions (the "
                f"prior's) needs {(len(x), width)}; change the encoder's or the prior's dim"
            )
        q: Posterior = self.posterior.from_output(output, self.dim)
        return q

    def decode(self, z: Float[Tensor, "batch dim"]) -> Likelihood:
        r"""p_θ(x|z) of each latent: a `Gaussian` or a `Bernoulli`."""
        if z.shape[-1] != self.dim:
            raise InputError(f"z has {z.shape[-1]} latent dimensions, the model has {self.dim}")
        distribution: Likelihood = self.likelihood(full_precision(self.decoder(z)))
        return distribution

    def reconstruct(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        r"""f_θ(μ_φ(x)): the decoded posterior mean."""
        image: Tensor = self.decode(self.encode(x).mean).mean
        return image

    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        r"""The reconstruction, see `reconstruct`."""
        return self.reconstruct(x)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        method: str = "auto",
        generator: Generator | None = None,
        progress: bool = False,
    ) -> Float[Tensor, "n *event"]:
        r"""Images f_θ(z) for n samples z of the prior, without a gradient, networks in eval mode.

        Arguments:
            n: how many.
            method: how the prior is sampled, see `fisherae.sample`.
            generator: source of randomness.
            progress: show a progress bar.
        """
        return decoded(self, sample_prior(self.prior, n, method, generator, progress=progress))

    def save(self, path: Path | str) -> None:
        r"""Writes `config.json`, readable, and `model.safetensors` into the directory `path`.

        Networks of your own are saved by their weights only; hand them to `load` again.
        """
        config: dict[str, Any] = {
            name: getattr(getattr(self, name), "spec", None) for name in PARTS
        }
        config["posterior"] = next(n for n, c in POSTERIORS.items() if c is self.posterior)
        # Copies, because safetensors refuses tensors that share memory (tied weights).
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.state_dict().items()
        }
        write_atomically(Path(path) / WEIGHTS, safetensors.torch.save(tensors))
        write_json(Path(path) / CONFIG, config)


def load(path: Path | str, **parts: Any) -> Autoencoder:
    r"""Reads a model that `Autoencoder.save` wrote. No code of the files is executed, and no more
    memory is taken than the weights in them need, whatever sizes they declare.

    Arguments:
        path: the directory, or the run directory that holds it as `model/`.
        parts: `encoder`, `decoder`, `prior` or `likelihood`, for those that are your own modules
            and which the configuration therefore cannot name.

    Raises:
        InputError: if a file is missing or damaged, names something unknown, or the weights are
            those of another architecture, or not finite.

    Example:
        >>> import tempfile
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(8)).eval()
        >>> path = tempfile.mkdtemp()
        >>> model.save(path)
        >>> x = torch.rand(4, 1, 28, 28)
        >>> torch.equal(fae.load(path).reconstruct(x), model.reconstruct(x))
        True
    """
    path = Path(path)
    path = path / "model" if (path / "model" / CONFIG).is_file() else path
    config = read_json(path / CONFIG)
    if not isinstance(config, dict):
        raise InputError(f"{path / CONFIG}: not the configuration of an auto-encoder")
    for name in config.keys() - {*PARTS, "posterior"}:
        raise InputError(f"{path / CONFIG}: unknown part {name!r}; known: {', '.join(PARTS)}")
    try:
        with torch.device("meta"):  # shapes without memory, until the weights are known to fit
            built: dict[str, Any] = {
                name: PARTS[name](_spec(config, name)) for name in PARTS.keys() - parts.keys()
            }
        model = Autoencoder(**built, **parts, posterior=config.get("posterior", "gaussian"))
    except InputError as error:
        raise InputError(f"{path / CONFIG}: {error}") from None
    except RuntimeError as error:  # torch counts no further than 2⁶³ bytes
        raise InputError(f"{path / CONFIG}: sizes that no machine can hold: {error}") from None
    tensors = read_tensors(path / WEIGHTS)
    _require_same(model, tensors, path / WEIGHTS)
    _require_finite(model, tensors, path / WEIGHTS)
    for part in built.values():
        part.to_empty(device="cpu")
    model.to(tensors["prior.support"].dtype)  # as saved: float64 stays float64
    model.load_state_dict(tensors)
    return model.eval()


def posterior_of_order(order: int) -> PosteriorName:
    r"""The posterior whose logarithm is a polynomial of that order, as `Autoencoder` names it; the
    encoder has as many outputs per dimension.

    Raises:
        InputError: if the order is not an even number: no density has an odd one.

    Example:
        >>> posterior_of_order(2), posterior_of_order(4)
        ('gaussian', 'polynomial')
    """
    if not is_count(order, least=2) or order % 2:
        raise InputError(f"posterior_order must be an even number, 2 or larger, got {order!r}")
    return "gaussian" if order == 2 else "polynomial"


@torch.no_grad()
def decoded(model: Autoencoder, z: Float[Tensor, "n dim"]) -> Float[Tensor, "n *event"]:
    r"""f_θ(z) of any number of latents, batch by batch, without a gradient, in eval mode.

    The decoder computes where it is, and the images come to where z is."""
    home = device_of(model.decoder)
    with evaluating(model):
        return torch.cat([model.decode(part.to(home)).mean.to(z) for part in torch.split(z, 512)])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first tensor is; the CPU if it has none."""
    tensors = chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode inside; after, each of its parts in the mode it was in before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _check_batch(model: Autoencoder, x: Tensor) -> None:
    dtype = model.prior.support.dtype
    if dtype in (torch.float16, torch.bfloat16):
        raise InputError(
            f"the model is in {dtype}, which is too coarse for scores: leave it in float32 and "
            "compute in bfloat16 by torch.autocast (fisherae train --precision bf16)"
        )
    layers = model.encoder.modules() if len(x) == 1 else ()
    if any(isinstance(layer, nn.BatchNorm1d) and layer.training for layer in layers):
        raise InputError(
            "batch normalisation cannot train on a single image: give more images, larger "
            "batches (of which a score_fraction may leave one), or another normalisation"
        )


def _spec(config: dict[str, Any], name: str) -> dict[str, Any]:
    spec = config.get(name)
    if spec is None:
        raise InputError(f"the {name} is your own module, hand it over: load(path, {name}=...)")
    if not isinstance(spec, dict):
        raise InputError(f"{name} must be an object with the {name}'s name, got {spec!r}")
    return spec


def _build(spec: dict[str, Any], what: str, known: dict[str, Callable[..., Any]]) -> Any:
    """A part from its readable configuration {what: name, argument: value, …}."""
    builder = lookup(what, spec.get(what), known)
    try:
        return builder(**{name: value for name, value in spec.items() if name != what})
    except TypeError as error:
        raise InputError(f"{what} {spec[what]}: {error}") from None


def _require_same(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """The names, shapes and kinds of numbers that the model needs."""
    own = model.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own or own[name].shape != tensors[name].shape:
            held = tuple(tensors[name].shape) if name in tensors else "nothing"
            needed = tuple(own[name].shape) if name in own else "nothing"
            raise InputError(
                f"{path}: weights of another architecture: {name} holds {held}, "
                f"the model needs {needed}"
            )
        dtype, expected = tensors[name].dtype, own[name].dtype
        if dtype not in (FLOATS if expected.is_floating_point else (expected,)):
            raise InputError(f"{path}: {name} holds {dtype}, the model needs {expected}")


def _require_finite(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    parameters = {name for name, _ in model.named_parameters()}
    for name, tensor in tensors.items():
        # A support, which is a buffer, may be infinite.
        broken = ~tensor.isfinite() if name in parameters else tensor.isnan()
        if broken.any():
            raise InputError(
                f"{path}: {name} is not finite: the file is damaged, or the model has diverged; "
                "train it again"
            )

r"""The Fisher auto-encoder as a scikit-learn transformer."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Generator, Tensor
from torch.nn.utils import clip_grad_norm_

from fisherae.autoencoder import Autoencoder, posterior_of_order
from fisherae.distributions import GaussianLikelihood
from fisherae.errors import InputError, NonFiniteError
from fisherae.inference import refined
from fisherae.networks import mlp
from fisherae.objectives import FisherObjective
from fisherae.priors import FactorablePolynomial
from fisherae.training.config import TrainingConfig

__all__ = ["FisherAutoencoder"]

# Whether all are finite is asked here, so that the first that is not can be named.
CHECKED: dict[str, Any] = {"dtype": (np.float64, np.float32), "ensure_all_finite": False}
LARGEST = 1e30  # of the data: the squares of larger numbers do not fit into a float32
AGGREGATED_SAMPLES = 10_000

Floats = NDArray[np.floating[Any]]


class FisherAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Latent features of any real data, by a Fisher auto-encoder with fully connected networks.

    Minimises the Fisher divergence between the joints p⋆(x) q_φ(z|x) and p_η(z) p_θ(x|z), eq. (10),
    with Adam. Then the prior, eq. (13), is fitted again in closed form to samples of the aggregated
    posterior and confined to their range; `sample` draws from it exactly.

    Inside, each feature is centred and all are divided by one number, the root of their mean
    variance. So pixels keep their relative contrast and constant features stay harmless, but
    features of different units should pass through a `StandardScaler` before.

    Arguments:
        latent_dim: d, the number of latent dimensions.
        order: K ≥ 2 of the polynomial prior; 2 is a Gaussian.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        variance: where learning starts of s², the decoder's variance in units of `scale_`².
        score_fraction: share of each batch on which the posterior and stability terms are
            estimated; 1 is the paper's.
        epochs: passes over the data.
        batch_size: rows per step.
        learning_rate: of Adam.
        clip: largest gradient norm; None: no clipping.
        posterior_order: of the posterior's polynomial: 2 is a Gaussian, 4 may be skew or bimodal.
        noise: variance, in units of `scale_`², up to which noise is added to what the encoder
            trains on, for features that keep still under it; the decoder answers for clean rows.
        random_state: int, `RandomState`, or None for numpy's global one, never torch's global one.
        verbose: print the loss after each epoch.
        refine: search on from each row's latent to the posterior's mode, see `fisherae.refined`:
            reconstructions come nearer to the clean row where there are many more features than
            latents, as of images. It can be set after `fit`, which does not depend on it.

    Attributes:
        model_: the trained `Autoencoder`, in float64, of standardised features.
        mean_: mean of each feature, shape (n_features,).
        scale_: root mean variance of the features.
        loss_curve_: the loss averaged over each epoch.
        n_features_in_, feature_names_in_: of the data seen by `fit`.

    Raises:
        InputError: a ValueError, if an argument is out of range, or the data are not finite numbers
            smaller than 10³⁰, have fewer than two rows, or other features than those seen by `fit`.
            TypeError: if they are sparse, or objects that are no numbers.
        NonFiniteError: in `fit`, if training diverges.

    References:
        Elkhalil, Hasan, Ding, Farsiu and Tarokh (2021), Fisher Auto-Encoders,
        https://arxiv.org/abs/2007.06120

    Example:
        >>> import fisherae as fae
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data[:200]
        >>> estimator = fae.FisherAutoencoder(latent_dim=8, epochs=2, random_state=0).fit(X)
        >>> estimator.transform(X).shape, estimator.sample(5).shape
        ((200, 8), (5, 64))
    """

    def __init__(
        self,
        latent_dim: int = 8,
        order: int = 4,
        hidden: Sequence[int] = (256, 128),
        variance: float = 0.1,
        score_fraction: float = 1.0,
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        clip: float | None = 10.0,
        posterior_order: int = 2,
        noise: float = 0.0,
        random_state: int | RandomState | None = None,
        verbose: bool = False,
        refine: bool = False,
    ):
        self.latent_dim = latent_dim
        self.order = order
        self.hidden = hidden
        self.variance = variance
        self.score_fraction = score_fraction
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip = clip
        self.posterior_order = posterior_order
        self.noise = noise
        self.random_state = random_state
        self.verbose = verbose
        self.refine = refine

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        r"""Trains on X, shape (n, n_features); y is ignored."""
        data = self._validated(X, ensure_min_samples=2)
        self.mean_ = data.mean(0, dtype=np.float64)
        scale = float(np.sqrt(data.var(0, dtype=np.float64).mean()))
        rounding = np.finfo(np.float64).eps * np.abs(self.mean_).max()
        self.scale_ = scale if scale > rounding else 1.0
        x = self._standardized(data).float()
        with _seeded(self.random_state):
            objective = self._objective().float()
            self.loss_curve_ = list(self._train(objective, x))
            model = objective.model.eval()
            model.prior = _fitted_prior(model, x, _plain(self.order))
        # In float32 the latents of a row would depend, in the last digits, on the rows beside it.
        self.model_ = model.double()
        self._n_features_out = model.dim  # read by get_feature_names_out
        return self

    def transform(self, X: ArrayLike) -> Floats:
        r"""The posterior means μ_φ(x), or the modes if refined, shape (n, latent_dim)."""
        check_is_fitted(self)
        data = self._validated(X, reset=False)
        model = refined(self.model_) if self.refine else self.model_
        with torch.no_grad():
            z = model.encode(self._standardized(data)).mean
        return z.numpy().astype(data.dtype)

    def inverse_transform(self, Z: ArrayLike) -> Floats:
        r"""The decoded means f_θ(z) in the units of X, shape (n, n_features)."""
        check_is_fitted(self)
        z = _numbers("Z", lambda: check_array(Z, **CHECKED, input_name="Z"))
        with torch.no_grad():
            x = self.model_.decode(torch.from_numpy(z.astype(np.float64))).mean
        return self._in_units(x).astype(z.dtype)

    def sample(self, n_samples: int = 1, random_state: int | RandomState | None = None) -> Floats:
        r"""Decoded means f_θ(z) in the units of X, z drawn from the prior, (n_samples, n_features).

        Arguments:
            n_samples: how many.
            random_state: as the estimator's, which it replaces here; None: the estimator's.
        """
        check_is_fitted(self)
        seed = _seed(self.random_state if random_state is None else random_state)
        x = self.model_.sample(_plain(n_samples), generator=Generator().manual_seed(seed))
        return self._in_units(x)

    def score(self, X: ArrayLike, y: object = None) -> float:
        r"""Minus the mean squared error per feature of the reconstruction f_θ(z), z of `transform`.

        In squared units of X, higher is better; y is ignored. Unlike the objective, it can be
        compared across numbers of latents and decoder variances.
        """
        reconstructed = self.inverse_transform(self.transform(X))
        return -float(np.square(self._validated(X, reset=False) - reconstructed).mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validated(self, X: ArrayLike, **options: Any) -> Floats:
        return _numbers("X", lambda: validate_data(self, X, **CHECKED, **options))

    def _objective(self) -> FisherObjective:
        dim, features = _plain(self.latent_dim), (self.n_features_in_,)
        posterior_order = _plain(self.posterior_order)
        posterior = posterior_of_order(posterior_order)
        model = Autoencoder(
            mlp.encoder(features, dim, posterior_order, hidden=self.hidden),
            mlp.decoder(features, dim, hidden=self.hidden[::-1], output="linear"),
            FactorablePolynomial(dim, _plain(self.order)),
            GaussianLikelihood(self.variance, learned=True),
            posterior,
        )
        return FisherObjective(
            model,
            score_fraction=self.score_fraction,
            noise=self.noise,
            standardize_prior=True,
        )

    def _train(self, objective: FisherObjective, x: Tensor) -> Iterator[float]:
        """The mean loss of each epoch."""
        config = TrainingConfig(
            epochs=_plain(self.epochs),
            batch_size=_plain(self.batch_size),
            learning_rate=self.learning_rate,
            clip=self.clip,
        )
        optimizer = torch.optim.Adam(objective.parameters(), lr=config.learning_rate)
        for epoch in range(1, config.epochs + 1):
            batches = torch.split(x[torch.randperm(len(x))], config.batch_size)
            losses = [_step(objective, optimizer, batch, config.clip) for batch in batches]
            loss = torch.stack(losses).mean().item()
            if self.verbose:
                print(f"epoch {epoch}/{config.epochs}: loss {loss:.4g}")
            yield loss

    def _standardized(self, data: Floats) -> Tensor:
        return torch.from_numpy((data.astype(np.float64) - self.mean_) / self.scale_)

    def _in_units(self, x: Tensor) -> Floats:
        data: Floats = self.mean_ + self.scale_ * x.numpy()
        return data


def _numbers(name: str, validate: Callable[[], Floats]) -> Floats:
    """An array that scikit-learn has taken; what it refuses is an `InputError`, too."""
    try:
        data = validate()
    except ValueError as error:
        first, *more = str(error).splitlines()
        without_arrays = [first, *(line for line in more if "[" not in line)]
        raise InputError("\n".join(without_arrays)) from error
    unusable = np.argwhere(~(np.abs(data) < LARGEST))
    if len(unusable):
        row, column = unusable[0]
        raise InputError(
            f"{name}[{row}, {column}] is {data[row, column]}: give finite numbers, no NaN or inf, "
            f"smaller than {LARGEST:g}"
        )
    return data


def _step(
    objective: FisherObjective, optimizer: torch.optim.Optimizer, x: Tensor, clip: float | None
) -> Tensor:
    optimizer.zero_grad()
    loss: Tensor = objective(x).total
    torch.autograd.backward(loss)
    norm = clip_grad_norm_(objective.parameters(), math.inf if clip is None else clip)
    if not norm.isfinite():
        raise NonFiniteError(
            "training diverged: the gradient is no longer finite; scale the features, lower "
            "learning_rate, or set clip"
        )
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def _fitted_prior(model: Autoencoder, x: Tensor, order: int) -> FactorablePolynomial:
    rows = torch.randint(len(x), (AGGREGATED_SAMPLES,))
    z = model.encode(x[rows]).rsample()
    return FactorablePolynomial(model.dim, order).fit(z)


@contextmanager
def _seeded(random_state: int | RandomState | None) -> Iterator[None]:
    """Torch draws from this random state inside; after, as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed GPUs as well.
        torch.default_generator.manual_seed(_seed(random_state))
        yield


def _seed(random_state: int | RandomState | None) -> int:
    try:
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    except ValueError as error:
        raise InputError(f"random_state: {error}") from error


def _plain(value: Any) -> Any:
    """A number of numpy, as parameter grids hold them, as one of Python."""
    return value.item() if isinstance(value, np.generic) else value

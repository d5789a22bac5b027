r"""Inference beyond the encoder: on from its latent to the mode of the model's own posterior."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap

from fisherae.autoencoder import Autoencoder, evaluating
from fisherae.counts import is_count
from fisherae.distributions import Delta
from fisherae.divergences import derivative, differentiating, point
from fisherae.errors import InputError
from fisherae.priors import Prior

__all__ = ["STEPS", "RefinedAutoencoder", "refined"]

STEPS = 12
"""Of a search; what fewer and more come to is measured in results/inference."""

# A Jacobian costs as much as d decoded images or more: Broyden's updates carry it over two steps.
JACOBIAN_EVERY = 3
DAMPING, CALMER, WILDER = 0.1, 1 / 3, 4.0
DERIVATIVES = 1024  # images by latents at once: three gigabytes with the networks of CelebA


def refined(model: Autoencoder, steps: int = STEPS) -> "RefinedAutoencoder":
    r"""The same auto-encoder, its encoder followed by a search for the posterior's mode.

    An encoder answers noise by what it has learned; decoder and prior can still be asked which
    latent explains the image best. Let x̃ = f(z) + √v e have D components, e ~ N(0, I), and v be
    unknown. With the v of largest likelihood for each z, v(z) = ‖x̃ − f(z)‖² / D (or with v
    integrated out under p(v) ∝ 1 / v), the mode is where

        E(z) = (D / 2) log v(z) − log p_η(z)

    is least. From z = μ(x̃) the method of Levenberg and Marquardt goes down: a step Δ solves
    (JᵀJ / v + C + λ diag) Δ = Jᵀ(x̃ − f(z)) / v + ∇_z log p_η(z), with J the derivative of f,
    renewed every third step and updated as Broyden does in between, C = |∂² log p_η / ∂z_j²|, and λ
    smaller after a step that lowered E, larger after one that did not and was not taken. Latents
    are kept within the prior's support. No image ends with a larger E than it starts with.

    It needs images of many more components than latents: what the decoder does not explain is taken
    for white noise, even if it is a stripe or a mask, and with few components per latent noise is
    explained like an image. Each step decodes, and each Jacobian takes d directional derivatives of
    the decoder: results/inference measures what that comes to. The networks are those of `model`,
    and compute in eval mode; no gradient passes.

    Arguments:
        model: any auto-encoder whose decoder torch can differentiate forwards. Its prior should
            be fitted to its latents (`prior.fit`): as trained it may not match them, and an
            odd order has no mode to end in.
        steps: of the search, at least one.

    Raises:
        InputError: if `steps` is not a positive whole number.

    References:
        Moré (1978), The Levenberg-Marquardt algorithm: implementation and theory,
        https://doi.org/10.1007/BFb0067700
        Broyden (1965), A class of methods for solving nonlinear simultaneous equations,
        https://doi.org/10.1090/S0025-5718-1965-0198670-6
        Dauphin et al. (2014), Identifying and attacking the saddle point problem,
        https://arxiv.org/abs/1406.2572, for the modulus in C.
        Samangouei, Kabkab and Chellappa (2018), Defense-GAN, https://arxiv.org/abs/1805.06605,
        which searches a generator's latents likewise, by gradient descent from random starts.

    Example:
        >>> import fisherae as fae
        >>> encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
        >>> model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(8)).eval()
        >>> x = torch.rand(4, 1, 28, 28)
        >>> error = (model.reconstruct(x) - x).square().sum()
        >>> (fae.refined(model).reconstruct(x) - x).square().sum() < error
        tensor(True)
    """
    if not is_count(steps):
        raise InputError(f"steps is {steps!r}: give a positive whole number")
    return RefinedAutoencoder(model, steps)


class RefinedAutoencoder(Autoencoder):
    r"""What `refined` returns; `encode` gives a `Delta` at the mode. Saved, it is the model."""

    def __init__(self, model: Autoencoder, steps: int):
        super().__init__(model.encoder, model.decoder, model.prior, model.likelihood)
        self.posterior = model.posterior
        self.training = model.training
        self.steps = steps

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "batch *event"]) -> Delta:
        r"""The modes of p(z|x), one for each image."""
        images = max(1, DERIVATIVES // self.dim)
        with evaluating(self):
            return Delta(torch.cat([self._modes(part) for part in torch.split(x, images)]))

    def _modes(self, x: Tensor) -> Tensor:
        lower, upper = self.prior.support.unbind(-1)
        z = super().encode(x).mean.clamp(lower, upper)
        x, image = x.flatten(1), self._decoded(z)
        energy = self._energy(x, z, image)
        damping = torch.full_like(energy, DAMPING)
        for step in range(self.steps):
            if step % JACOBIAN_EVERY == 0:
                jacobian = self._jacobian(z)
            tried = (z + self._step(x - image, z, jacobian, damping)).clamp(lower, upper)
            there = self._decoded(tried)
            jacobian = _broyden(jacobian, tried - z, there - image)
            changed = self._energy(x, tried, there)
            better = changed < energy  # not of nan
            energy = torch.where(better, changed, energy)
            z = torch.where(better[:, None], tried, z)
            image = torch.where(better[:, None], there, image)
            damping = damping * torch.where(better, CALMER, WILDER)
        return z

    def _decoded(self, z: Tensor) -> Tensor:
        return self.decode(z).mean.flatten(1)

    def _energy(self, x: Tensor, z: Tensor, image: Tensor) -> Tensor:
        """E(z) of each image."""
        return x.shape[1] / 2 * _variance(x - image).log() - self.prior.log_density(z)

    def _jacobian(self, z: Tensor) -> Tensor:
        """J of each image, (batch, D, dim), all directions at once."""
        directions = torch.eye(self.dim, dtype=z.dtype, device=z.device)

        def along(direction: Tensor) -> Tensor:
            change: Tensor = jvp(self._decoded, (z,), (direction.expand_as(z),))[1]
            return change

        columns: Tensor = vmap(along)(directions)
        return columns.permute(1, 2, 0)

    def _step(self, error: Tensor, z: Tensor, jacobian: Tensor, damping: Tensor) -> Tensor:
        slope, bend = _slope_and_bend(self.prior, z)
        weighted = jacobian / _variance(error)[:, None, None]
        matrix = weighted.mT @ jacobian + bend.abs().diag_embed()
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        # A latent on which nothing depends has no diagonal of its own.
        least = torch.finfo(z.dtype).eps * diagonal.amax(1, keepdim=True)
        damped = matrix + (damping[:, None] * diagonal.maximum(least)).diag_embed()
        towards = (weighted.mT @ error[..., None])[..., 0] + slope
        step: Tensor = torch.linalg.solve_ex(damped, towards)[0]
        return step


def _variance(error: Tensor) -> Tensor:
    """v(z), above zero where the image is met exactly."""
    return error.square().mean(1).clamp_min(torch.finfo(error.dtype).tiny ** 0.5)


def _slope_and_bend(prior: Prior, z: Tensor) -> tuple[Tensor, Tensor]:
    """∂ log p / ∂z_j and ∂² log p / ∂z_j²."""
    with differentiating():
        z = point(z)
        score = prior.score(z)
        second = [derivative(score[:, j], z, create_graph=False)[:, j] for j in range(prior.dim)]
    return score.detach(), torch.stack(second, dim=1).detach()


def _broyden(jacobian: Tensor, delta: Tensor, change: Tensor) -> Tensor:
    """The matrix nearest to J that maps Δ to the change it made."""
    missed = change - (jacobian @ delta[..., None])[..., 0]
    length = delta.square().sum(1).clamp_min(torch.finfo(delta.dtype).tiny)
    return jacobian + missed[..., None] * (delta / length[:, None])[:, None]

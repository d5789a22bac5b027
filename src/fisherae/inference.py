r"""Inference beyond the encoder: on from its latent to the mode of the model's own posterior."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vmap

from fisherae.autoencoder import Autoencoder
from fisherae.counts import is_count
from fisherae.errors import InputError
from fisherae.priors import Prior

__all__ = ["refined"]

# A Jacobian costs as much as d decoded images or more: Broyden's updates carry it over two steps.
JACOBIAN_EVERY = 3
DAMPING, CALMER, WILDER = 0.1, 1 / 3, 4.0
DERIVATIVES = 1024  # of images by latents, taken at once: bounds the memory


def refined(model: Autoencoder, steps: int = 12) -> Autoencoder:
    r"""The same auto-encoder, its encoder followed by a search for the posterior's mode.

    An encoder answers noise by what it has learned; decoder and prior can still be asked which
    latent explains the image best. Let x̃ = f(z) + √v e have D components, e ~ N(0, I), and v be
    unknown. With the v of largest likelihood for each z, v(z) = ‖x̃ − f(z)‖² / D, the mode is where

        E(z) = (D / 2) log v(z) − log p_η(z)

    is least. From z = μ(x̃) the method of Levenberg and Marquardt goes down: a step Δ solves
    (JᵀJ / v + C + λ diag) Δ = Jᵀ(x̃ − f(z)) / v + ∇_z log p_η(z), with J the derivative of f,
    renewed every third step and updated as Broyden does in between, C the convex part of
    −∂² log p_η / ∂z_j², and λ smaller after a step that lowered E, larger after one that did not
    and was not taken. No image ends with a larger E than its μ(x̃) has.

    With d = 8 and 12 steps an image costs as much as 60 to 80 decoded ones. The networks are those
    of `model`, no gradient passes, and what the decoder does not explain is taken for white noise,
    even if it is a stripe or a mask.

    Arguments:
        model: any auto-encoder whose decoder torch can differentiate forwards. Its prior should
            be fitted to its latents (`prior.fit`): as trained it often does not match them, and an
            odd order has no mode to end in.
        steps: of the search, at least one.

    Returns:
        An auto-encoder with a `Delta` posterior at the mode.

    Raises:
        InputError: if `steps` is not a positive whole number.

    References:
        Moré (1978), The Levenberg-Marquardt algorithm: implementation and theory,
        https://doi.org/10.1007/BFb0067700
        Broyden (1965), A class of methods for solving nonlinear simultaneous equations,
        https://doi.org/10.1090/S0025-5718-1965-0198670-6
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
    encoder = ModeEncoder(model, steps)
    search = Autoencoder(encoder, model.decoder, model.prior, model.likelihood, "delta")
    encoder.training = search.training = model.training  # the shared parts stay as they are
    return search


class ModeEncoder(nn.Module):
    """The encoder of `refined`: images to the modes of their posteriors."""

    def __init__(self, model: Autoencoder, steps: int):
        super().__init__()
        self.model = model
        self.steps = steps

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch dim"]:
        images = max(1, DERIVATIVES // self.model.dim)
        return torch.cat([self._modes(part) for part in torch.split(x, images)])

    def _modes(self, x: Tensor) -> Tensor:
        x, z = x.flatten(1), self.model.encode(x).mean
        image = self._decoded(z)
        energy = self._energy(x, z, image)
        damping = torch.full_like(energy, DAMPING)
        for step in range(self.steps):
            if step % JACOBIAN_EVERY == 0:
                jacobian = self._jacobian(z)
            delta = self._step(x - image, z, jacobian, damping)
            there = self._decoded(z + delta)
            jacobian = _broyden(jacobian, delta, there - image)
            changed = self._energy(x, z + delta, there)
            lower = changed < energy  # not of nan
            energy = torch.where(lower, changed, energy)
            z = torch.where(lower[:, None], z + delta, z)
            image = torch.where(lower[:, None], there, image)
            damping = damping * torch.where(lower, CALMER, WILDER)
        return z

    def _decoded(self, z: Tensor) -> Tensor:
        return self.model.decode(z).mean.flatten(1)

    def _energy(self, x: Tensor, z: Tensor, image: Tensor) -> Tensor:
        """E(z) of each image."""
        return x.shape[1] / 2 * _variance(x - image).log() - self.model.prior.log_density(z)

    def _jacobian(self, z: Tensor) -> Tensor:
        """J of each image, (batch, D, dim), all directions at once."""
        directions = torch.eye(self.model.dim, dtype=z.dtype, device=z.device)

        def along(direction: Tensor) -> Tensor:
            derivative: Tensor = jvp(self._decoded, (z,), (direction.expand_as(z),))[1]
            return derivative

        columns: Tensor = vmap(along)(directions)
        return columns.permute(1, 2, 0)

    def _step(self, error: Tensor, z: Tensor, jacobian: Tensor, damping: Tensor) -> Tensor:
        score, convexity = _slope_and_convexity(self.model.prior, z)
        weighted = jacobian / _variance(error)[:, None, None]
        matrix = weighted.mT @ jacobian + convexity.diag_embed()
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        # A latent on which nothing depends has no diagonal of its own.
        least = torch.finfo(z.dtype).eps * diagonal.amax(1, keepdim=True)
        damped = matrix + (damping[:, None] * diagonal.maximum(least)).diag_embed()
        towards = (weighted.mT @ error[..., None])[..., 0] + score
        delta: Tensor = torch.linalg.solve_ex(damped, towards)[0]
        return delta


def _variance(error: Tensor) -> Tensor:
    """v(z), above zero where the image is met exactly."""
    return error.square().mean(1).clamp_min(torch.finfo(error.dtype).tiny ** 0.5)


def _slope_and_convexity(prior: Prior, z: Tensor) -> tuple[Tensor, Tensor]:
    """∂ log p / ∂z_j, and −∂² log p / ∂z_j² where positive, else 0."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        score = prior.score(z)
        second = [
            torch.autograd.grad(score[:, j].sum(), z, retain_graph=True)[0][:, j]
            for j in range(prior.dim)
        ]
    return score.detach(), -torch.stack(second, dim=1).clamp_max(0)


def _broyden(jacobian: Tensor, delta: Tensor, change: Tensor) -> Tensor:
    """The matrix nearest to J that maps Δ to the change it made."""
    missed = change - (jacobian @ delta[..., None])[..., 0]
    length = delta.square().sum(1).clamp_min(torch.finfo(delta.dtype).tiny)
    return jacobian + missed[..., None] * (delta / length[:, None])[:, None]

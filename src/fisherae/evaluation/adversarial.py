r"""Perturbations that move the latent as far as they can: a projected gradient attack."""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fisherae.autoencoder import Autoencoder, device_of, evaluating
from fisherae.counts import is_count
from fisherae.data.corruptions import Corruption
from fisherae.errors import InputError

__all__ = ["LatentAttack", "Norm", "Target"]

Norm = Literal["l2", "linf"]
Target = Literal["latent", "reconstruction"]


@dataclass(frozen=True)
class LatentAttack(Corruption):
    r"""The worst perturbation of each image within a radius r, by projected gradient ascent.

    Maximises over ‖δ‖ ≤ r, for each image x by itself,

        ‖μ_φ(x + δ) − μ_φ(x)‖²   (target "latent"),   ‖f_θ(μ_φ(x + δ)) − x‖²   ("reconstruction")

    with steps δ ← Π(δ + α g / ‖g‖₂) of the gradient g for the ball of "l2", and
    δ ← Π(δ + α sign g) for that of "linf", Π the projection onto the ball. It begins at random, as
    the gradient of the first target vanishes at δ = 0, and returns x + δ, not clipped, of the best
    δ that any step of any restart has seen. A larger one may exist: the result is a lower bound of
    the harm that can be done.

    As a `Corruption` it goes wherever one does, e.g. into `robustness`.

    Arguments:
        radius: r ≥ 0, in units of the pixels.
        model: that is attacked; its networks run in eval mode.
        norm: "l2", over all components of an image, or "linf", the largest of them.
        target: what is moved, "latent" or "reconstruction".
        steps: per restart.
        step_size: α of the first step, from which it falls linearly; None: 4r. Small steps crawl
            along the sphere of "l2", where large ones are those of the power method.
        restarts: starts at random places.
        batch_size: images at once.

    Raises:
        InputError: an argument is not such.

    References:
        Madry, Makelov, Schmidt, Tsipras and Vladu (2018), Towards Deep Learning Models Resistant to
        Adversarial Attacks, https://arxiv.org/abs/1706.06083

        Croce and Hein (2020), Reliable Evaluation of Adversarial Robustness with an Ensemble of
        Diverse Parameter-Free Attacks, https://arxiv.org/abs/2003.01690

        Kos, Fischer and Song (2018), Adversarial Examples for Generative Models ("latent attack"),
        https://arxiv.org/abs/1702.06832

    Example:
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder, decoder = mlp.encoder((1, 4, 4), dim=2), mlp.decoder((1, 4, 4), dim=2)
        >>> attack = LatentAttack(0.5, Autoencoder(encoder, decoder, StandardNormal(2)), steps=5)
        >>> x = torch.rand(10, 1, 4, 4)
        >>> (attack(x) - x).flatten(1).norm(dim=1).max() < 0.5 + 1e-5
        tensor(True)
    """

    name: ClassVar[str] = "attack"
    label: ClassVar[str] = "radius of the perturbation"
    keeps_range: ClassVar[bool] = False

    radius: float
    model: Autoencoder = field(repr=False)
    _: KW_ONLY
    norm: Norm = "l2"
    target: Target = "latent"
    steps: int = 100
    step_size: float | None = None
    restarts: int = 2
    batch_size: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.radius < math.inf:
            raise InputError(f"radius is {self.radius}: give a finite number ≥ 0")
        for name, known in (("norm", ("l2", "linf")), ("target", ("latent", "reconstruction"))):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}; known: {known}")
        for name in ("steps", "restarts", "batch_size"):
            if not is_count(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}: give a positive whole number")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise InputError(f"step_size is {self.step_size}: give a finite number > 0")

    def _corrupt(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        with evaluating(self.model):
            best, highest = self._once(x, generator, device)
            for _ in range(self.restarts - 1):
                other, value = self._once(x, generator, device)
                better = value > highest
                best[better], highest[better] = other[better], value[better]
        return best

    def _once(
        self, x: Tensor, generator: torch.Generator | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The best perturbed images of one start, and how far they got, of each batch by itself."""
        noise = torch.randn(x.shape, generator=generator, device=device).to(x)
        home = device_of(self.model)
        batches = zip(
            torch.split(x, self.batch_size), torch.split(noise, self.batch_size), strict=True
        )
        found = [self._climbed(clean.to(home), start.to(home)) for clean, start in batches]
        best, highest = zip(*found, strict=True)
        return torch.cat(best).to(x), torch.cat(highest).to(x.device)

    @torch.enable_grad()
    def _climbed(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        goal = self.model.encode(x).mean.detach() if self.target == "latent" else x
        first = self.step_size or 4 * self.radius
        delta = self._projected(self.radius * noise)
        best, highest = x + delta, torch.full((len(x),), -math.inf, device=x.device)
        for step in range(self.steps + 1):
            value = self._distance(x + delta.requires_grad_(), goal)
            better = value.detach() > highest
            best[better], highest[better] = (x + delta.detach())[better], value.detach()[better]
            if step < self.steps:
                (gradient,) = torch.autograd.grad(value.sum(), delta)
                size = first * (1 - step / self.steps)
                delta = self._projected(delta.detach() + size * self._direction(gradient))
        return best, highest

    def _distance(self, x: Tensor, goal: Tensor) -> Tensor:
        answer: Tensor = self.model.encode(x).mean
        if self.target == "reconstruction":
            answer = self.model.decode(answer).mean
        return (answer - goal).square().flatten(1).sum(1)

    def _direction(self, gradient: Tensor) -> Tensor:
        if self.norm == "linf":
            return gradient.sign()
        return gradient / _length(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)

    def _projected(self, delta: Tensor) -> Tensor:
        if self.norm == "linf":
            return delta.clamp(-self.radius, self.radius)
        shrunk: Tensor = delta * (self.radius / _length(delta)).clamp(max=1)
        return shrunk


def _length(x: Tensor) -> Tensor:
    """‖x‖₂ of each image, to be multiplied with them."""
    length: Tensor = x.flatten(1).norm(dim=1)
    return length.view(-1, *[1] * (x.dim() - 1))

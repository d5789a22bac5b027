r"""`sample`: the one call that chooses, runs and checks a sampler."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Generator, Tensor

from fisherae.counts import is_whole
from fisherae.errors import InputError, NonFiniteError
from fisherae.priors import FactorablePrior, Prior
from fisherae.samplers.base import Sampler, reflect
from fisherae.samplers.diagnostics import Diagnostics, diagnose
from fisherae.samplers.exact import EXACT, Exact, improper_dims
from fisherae.samplers.langevin import MALA, ULA, tune
from fisherae.samplers.svgd import SVGD, AdaGrad

__all__ = ["METHODS", "sample"]

_COLLAPSED = 0.8
_FEWEST = 10  # samples whose spread tells


def _svgd(prior: Prior, step_size: float) -> SVGD:
    return SVGD(prior, step_rule=AdaGrad(step_size))


def _ula(prior: Prior, step_size: float) -> ULA:
    return ULA(prior, step_size * prior.spread.square())


def _mala(prior: Prior, step_size: float) -> MALA:
    return MALA(prior, step_size * prior.spread.square())


def _svgd_per_dim(prior: Prior, step_size: float) -> SVGD:
    return SVGD(prior, per_dim=True, step_rule=AdaGrad(step_size))


Build = Callable[..., Sampler[Any]]

# How each sampler is built, and its options with their defaults.
_SAMPLERS: dict[str, tuple[Build, dict[str, int | float]]] = {
    "exact": (Exact, {}),
    "svgd": (_svgd, {"steps": 15_000, "step_size": 1e-3}),
    "svgd-per-dim": (_svgd_per_dim, {"steps": 15_000, "step_size": 1e-3}),
    "ula": (_ula, {"steps": 5_000, "step_size": 0.01}),
    "mala": (_mala, {"steps": 2_000, "step_size": 0.1}),
}

# The kinds of priors that a sampler is for, where not for all.
_KINDS: dict[str, tuple[type[Prior], ...]] = {"exact": EXACT, "svgd-per-dim": (FactorablePrior,)}

METHODS = ("auto", *_SAMPLERS, "langevin")


@overload
def sample(
    prior: Prior,
    n: int,
    method: str = ...,
    generator: Generator | None = ...,
    return_diagnostics: Literal[False] = ...,
    progress: bool = ...,
    start: Tensor | None = ...,
    **options: int | float,
) -> Tensor: ...


@overload
def sample(
    prior: Prior,
    n: int,
    method: str = ...,
    generator: Generator | None = ...,
    *,
    return_diagnostics: Literal[True],
    progress: bool = ...,
    start: Tensor | None = ...,
    **options: int | float,
) -> tuple[Tensor, Diagnostics]: ...


def sample(
    prior: Prior,
    n: int,
    method: str = "auto",
    generator: Generator | None = None,
    return_diagnostics: bool = False,
    progress: bool = False,
    start: Tensor | None = None,
    **options: int | float,
) -> Tensor | tuple[Tensor, Diagnostics]:
    r"""Samples of a prior, shape (n, dim), on the prior's device and of its dtype.

    | method | for | options and their defaults |
    |---|---|---|
    | `"auto"` | exact where that is possible, else MALA | |
    | `"exact"` | mixtures, and factorable priors that are proper | none |
    | `"svgd"` | any; the paper's; too narrow in many dimensions | steps 15,000, step_size 1e-3 |
    | `"svgd-per-dim"` | factorable; keeps the spread | steps 15,000, step_size 1e-3 |
    | `"ula"` | any; biased by the step | steps 5,000, step_size 0.01 |
    | `"mala"`, `"langevin"` | any | steps 2,000, step_size 0.1, tuned in the first half |

    All but the exact method start from `start`, folded into the support, or from where the prior
    says: from N(0, I) as in the paper, polynomial and energy priors from the Gaussian of the
    latents that they were fitted to or followed, whose variances scale the Langevin steps as well.
    A particle of SVGD moves at most about steps × step_size.

    Arguments:
        prior: the prior p_η(z).
        n: number of samples (of particles, of chains).
        method: one of `METHODS`.
        generator: of all randomness; on the prior's device.
        return_diagnostics: whether to return the `Diagnostics` too.
        progress: whether to show a progress bar.
        start: where to start, shape (n, dim), for instance latents; None: as above.
        **options: `steps` and `step_size`, both positive.

    Raises:
        InputError: if an argument is wrong, or the prior does not suit the method.
        NonFiniteError: if the sampler diverged.

    Warns:
        UserWarning: if the prior is improper, or nothing says whether it is (`is_normalizable` is
            None), or the spread of SVGD is below 0.8 of the prior's where that is known, of ten
            particles or more.

    Example:
        >>> from fisherae.priors import FactorablePolynomial
        >>> prior = FactorablePolynomial(dim=2, order=4)
        >>> prior.set_eta(torch.tensor([[0.0, 1.0, 0.0, -0.25]] * 2))  # modes at ±√2
        >>> sample(prior, 5).shape
        torch.Size([5, 2])
        >>> z, diagnostics = sample(prior, 5, method="mala", return_diagnostics=True, steps=100)
        >>> diagnostics.method
        'mala'
    """
    method = _resolve(method, prior)
    build, defaults = _SAMPLERS[method]
    _check(n, method, options, defaults)
    _check_start(prior, n, start)
    _check_support(prior)
    chosen = defaults | options
    steps = int(chosen.pop("steps", 1))
    sampler = build(prior, **chosen)
    _warn_if_improper(prior, method)
    count = _progress(steps) if progress and steps > 1 else range(steps)
    if isinstance(sampler, Exact):  # wherever it starts
        first = prior.support.new_empty(n, prior.dim)
    else:
        first = prior.start(n, generator) if start is None else start.to(prior.support)
        first = reflect(first, prior.support)
    z, acceptance = _run(sampler, first, count, generator, steps // 2)
    if not bool(torch.stack(z.aminmax()).isfinite().all()):
        step_size = chosen.get("step_size")
        cure = f"make step_size smaller than {step_size}, or " if step_size else ""
        raise NonFiniteError(
            f"sampling with {method!r} diverged, its samples are not finite: {cure}give the prior "
            "a finite support, or fit it anew"
        )
    if not (return_diagnostics or method.startswith("svgd")):
        return z
    diagnostics = diagnose(prior, z, method, acceptance)
    if method.startswith("svgd"):
        _warn_if_collapsed(diagnostics, n)
    return (z, diagnostics) if return_diagnostics else z


def _resolve(method: str, prior: Prior) -> str:
    if not isinstance(prior, Prior):
        raise InputError(
            f"sample: it draws from a prior, such as FactorablePolynomial, got a "
            f"{type(prior).__name__}"
        )
    if method not in METHODS:
        raise InputError(f"sample: unknown method {method!r}, known are {', '.join(METHODS)}")
    kinds = _KINDS.get(method, (Prior,))
    if not isinstance(prior, kinds):
        needed = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(
            f"sample: {method!r} needs a {needed}, {type(prior).__name__} is none: "
            "use the method auto, mala or svgd"
        )
    if method == "auto":
        return "exact" if isinstance(prior, EXACT) else "mala"
    return "mala" if method == "langevin" else method


def _check(
    n: int, method: str, options: dict[str, int | float], known: dict[str, int | float]
) -> None:
    if not is_whole(n):
        raise InputError(f"sample: n must be a whole number, at least 1, got {n!r}")
    for name, value in options.items():
        if name not in known:
            raise InputError(
                f"sample: method {method!r} has no option {name!r}, "
                f"its options are: {', '.join(known) or 'none'}"
            )
        if not 0 < value < math.inf or (name == "steps" and value != int(value)):
            kind = "integer" if name == "steps" else "number"
            raise InputError(f"sample: {name} must be a positive {kind}, got {value}")


def _check_start(prior: Prior, n: int, start: Tensor | None) -> None:
    if start is None:
        return
    if start.shape != (n, prior.dim):
        raise InputError(
            f"sample: start must hold points of shape ({n}, {prior.dim}), got shape "
            f"{tuple(start.shape)}"
        )
    bad = (~start.isfinite()).nonzero().tolist()
    if bad:
        row, column = bad[0]
        raise InputError(f"sample: start[{row}, {column}] is {start[row, column].item()}")


def _check_support(prior: Prior) -> None:
    lower, upper = prior.support.unbind(-1)
    dims = (lower == upper).nonzero()[:, 0].tolist()
    if dims:
        raise InputError(
            f"sample: the prior is confined to a single point in dimensions {dims}: confine or fit "
            "it to more latents, which differ"
        )


def _run(
    sampler: Sampler[Any],
    z: Tensor,
    count: Iterable[int],
    generator: Generator | None,
    warm_up: int,
) -> tuple[Tensor, float | None]:
    """The last positions; for MALA, tuned in the warm-up, also the acceptance rate after it."""
    state = sampler.init(z)
    rates = []
    for t in count:
        state = sampler.step(state, generator)
        if isinstance(sampler, MALA):
            if t < warm_up:
                sampler = tune(sampler, state, t)
            else:
                rates.append(state.acceptance.mean())
    return state.position, torch.stack(rates).mean().item() if rates else None


def _progress(steps: int) -> Iterable[int]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(range(steps), "sampling the prior", console=console, disable=hidden)


def _warn_if_improper(prior: Prior, method: str) -> None:
    if prior.is_normalizable is None:
        reach = "how far it looks" if method == "exact" else "its start and number of steps"
        warnings.warn(
            f"sample: nothing says whether {type(prior).__name__} is proper (is_normalizable is "
            f"None); if not, what {method!r} returns depends on {reach}: "
            "give the prior a finite support, or define is_normalizable in a subclass",
            stacklevel=3,
        )
    dims = improper_dims(prior)
    if dims:
        warnings.warn(
            f"sample: the prior is improper in dimensions {dims}, so what {method!r} returns "
            "depends on its start and number of steps: confine it to the range of its latents "
            "with prior.confine(latents), or fit it with prior.fit(latents)",
            stacklevel=3,
        )


def _warn_if_collapsed(diagnostics: Diagnostics, n: int) -> None:
    ratio = diagnostics.spread_ratio
    if n >= _FEWEST and ratio is not None and float(ratio.mean()) < _COLLAPSED:
        warnings.warn(
            f"sample: the spread of {diagnostics.method!r} is {float(ratio.mean()):.2f} of the "
            "prior's (it has collapsed, or not yet converged): use the exact method, or more "
            "steps of svgd-per-dim",
            stacklevel=3,
        )

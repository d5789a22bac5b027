"""The contract that all samplers keep, and `sample`, its checks, warnings and diagnostics."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from fisherae import sample as public_sample
from fisherae.errors import InputError, NonFiniteError
from fisherae.priors import (
    ExponentialFamily,
    FactorablePolynomial,
    GaussianMixture,
    Prior,
    StandardNormal,
)
from fisherae.samplers import (
    MALA,
    METHODS,
    SVGD,
    ULA,
    Exact,
    Sampler,
    kernel_stein_discrepancy,
    sample,
)

SAMPLERS: dict[str, Callable[..., Sampler[Any]]] = {
    "exact": Exact,
    "exact-ancestral": lambda prior: Exact(GaussianMixture(prior.dim).to(prior.support)),
    "svgd": SVGD,
    "svgd-per-dim": lambda prior: SVGD(prior, per_dim=True),
    "ula": ULA,
    "mala": MALA,
}
IMPROPER = [[0.0, -0.5, 0.0, 0.0, 0.05], [0.0, -0.5, 0.0, 0.0, 0.0], [0.0, -0.5, 0.0, 0.0, -0.05]]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def improper_prior() -> FactorablePolynomial:
    prior = FactorablePolynomial(3, 5)
    prior.set_eta(torch.tensor(IMPROPER))
    return prior


class Gaussian(ExponentialFamily):
    """Not known to be factorable, but to be proper."""

    @property
    def is_normalizable(self) -> Tensor:
        return torch.ones(self.dim, dtype=torch.bool)


def general_prior(family: type[ExponentialFamily] = Gaussian) -> ExponentialFamily:
    prior = family(2, lambda z: -z.square() / 2)
    torch.nn.init.ones_(prior.eta)
    return prior


def mixture_prior() -> GaussianMixture:
    """Two standard normals at ±4 in each of two dimensions: standard deviation √17."""
    prior = GaussianMixture(2, components=2)
    prior.means.copy_(torch.tensor([[-4.0, 4.0], [4.0, -4.0]]))
    return prior


def tensors(state: object) -> list[Tensor]:
    values = [getattr(state, f.name) for f in fields(state)]  # type: ignore[arg-type]
    return [v.clone() for v in values if isinstance(v, Tensor)]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampler_contract(name: str, dtype: torch.dtype) -> None:
    prior = FactorablePolynomial(3, 4).to(dtype)
    sampler = SAMPLERS[name](prior)
    start = torch.randn(6, 3, dtype=dtype)
    state = sampler.step(sampler.init(start), seeded(2))
    before = tensors(state)
    after, again = sampler.step(state, seeded()), sampler.step(state, seeded())
    assert all(map(torch.equal, tensors(state), before)), "the state was changed in place"
    assert all(map(torch.equal, tensors(after), tensors(again))), "the seed does not decide"
    assert not torch.equal(after.position, state.position)
    assert after.position.shape == (6, 3)
    assert after.position.dtype == dtype
    assert not any(t.requires_grad for t in tensors(after))


@pytest.mark.parametrize("name", ["exact", "exact-ancestral", "ula", "mala"])
def test_other_seeds_give_other_samples(name: str) -> None:
    sampler = SAMPLERS[name](StandardNormal(3))
    state = sampler.init(torch.randn(6, 3))
    one, other = (sampler.step(state, seeded(seed)).position for seed in (1, 2))
    assert not torch.equal(one, other)


def quick(method: str) -> dict[str, float]:
    return {} if method in ("auto", "exact") else {"steps": 20, "step_size": 0.1}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample_contract(method: str, dtype: torch.dtype) -> None:
    prior = StandardNormal(2).to(dtype)
    z, diagnostics = sample(prior, 40, method, seeded(), return_diagnostics=True, **quick(method))
    assert z.shape == (40, 2)
    assert z.dtype == dtype
    assert not z.requires_grad
    assert torch.equal(z, public_sample(prior, 40, method, seeded(), **quick(method)))
    assert not torch.equal(z, sample(prior, 40, method, seeded(4), **quick(method)))
    torch.testing.assert_close(diagnostics.mean, z.mean(0))
    torch.testing.assert_close(diagnostics.std, z.std(0, correction=0))
    torch.testing.assert_close(diagnostics.spread_ratio, diagnostics.std, rtol=1e-4, atol=0)
    assert diagnostics.ksd == pytest.approx(kernel_stein_discrepancy(prior, z).item())
    expected = {"auto": "exact", "langevin": "mala"}.get(method, method)
    assert diagnostics.method == expected
    assert (diagnostics.acceptance is None) == (expected != "mala")


def test_the_global_random_state_is_left_alone_with_a_generator() -> None:
    before = torch.get_rng_state()
    for method in METHODS:
        sample(StandardNormal(2), 40, method, seeded(), **quick(method))
    assert torch.equal(torch.get_rng_state(), before)


def test_mala_defaults_are_good_on_badly_scaled_latents() -> None:
    prior = FactorablePolynomial(3, 2)
    prior.scale.copy_(torch.tensor([1.0, 3.0, 8.0]))
    _, diagnostics = sample(prior, 800, "mala", seeded(), return_diagnostics=True)
    torch.testing.assert_close(diagnostics.spread_ratio, torch.ones(3), rtol=0, atol=0.08)
    assert diagnostics.acceptance == pytest.approx(0.574, abs=0.05)


def test_auto_takes_mala_where_the_prior_is_not_factorable() -> None:
    z, diagnostics = sample(general_prior(), 30, steps=100, return_diagnostics=True)
    assert diagnostics.method == "mala"
    assert diagnostics.spread_ratio is None
    assert z.shape == (30, 2)


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_mixture_is_drawn_exactly(method: str) -> None:
    prior = mixture_prior()
    z, diagnostics = sample(prior, 20_000, method, seeded(), return_diagnostics=True)
    assert diagnostics.method == "exact"
    torch.testing.assert_close(
        z.mT.cov(), torch.tensor([[17.0, -16.0], [-16.0, 17.0]]), rtol=0.03, atol=0
    )
    torch.testing.assert_close(diagnostics.spread_ratio, z.std(0) / 17**0.5, rtol=1e-3, atol=0)
    assert abs(diagnostics.ksd) < 0.01


def test_diagnostics_find_samples_that_have_not_arrived() -> None:
    """A few tiny steps from N(0, I), which lies between the two modes."""
    _, diagnostics = sample(
        mixture_prior(), 200, "ula", seeded(), return_diagnostics=True, steps=10, step_size=1e-4
    )
    assert float(diagnostics.spread_ratio.max()) < 0.5
    assert diagnostics.ksd > 0.1


def test_many_samples_are_judged_by_some() -> None:
    z, diagnostics = sample(StandardNormal(2), 5_000, return_diagnostics=True)
    expected = kernel_stein_discrepancy(StandardNormal(2), z[::3])
    assert diagnostics.ksd == pytest.approx(expected.item())


def test_a_single_sample_has_no_discrepancy() -> None:
    assert sample(StandardNormal(2), 1, return_diagnostics=True)[1].ksd is None


def test_start_is_on_the_support() -> None:
    prior = FactorablePolynomial(2, 4, support=[(10.0, 10.5), (-1e3, 1e3)])
    z = sample(prior, 500, "mala", seeded(), steps=1, step_size=1e-8)
    assert 10 <= float(z[:, 0].min()) < float(z[:, 0].max()) <= 10.5
    assert float(z[:, 1].std()) == pytest.approx(1, rel=0.1)


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal, where it is wanted; silence in a file."""
    sample(StandardNormal(2), 3, "ula", steps=5, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    sample(StandardNormal(2), 3, "ula", steps=5)
    assert capsys.readouterr() == ("", "")
    sample(StandardNormal(2), 3, "ula", steps=5, progress=True)
    assert "sampling the prior" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_exact_refuses_an_improper_prior(method: str) -> None:
    with pytest.raises(InputError, match=r"improper in dimensions \[0, 2\].*prior\.confine\("):
        sample(improper_prior(), 5, method)


@pytest.mark.parametrize("method", ["svgd", "svgd-per-dim", "ula", "mala"])
def test_the_others_run_on_an_improper_prior_and_say_so(method: str) -> None:
    """The paper samples K = 5 with SVGD."""
    with pytest.warns(UserWarning, match=r"improper in dimensions \[0, 2\].*confine"):
        z = sample(improper_prior(), 20, method, seeded(), steps=30, step_size=1e-3)
    assert bool(z.isfinite().all())


@pytest.mark.parametrize("method", ["auto", "mala", "ula", "svgd"])
def test_an_unknown_normaliser_is_a_warning(method: str) -> None:
    """And none where the class or a finite support says that the prior is proper."""
    options = {"steps": 5, "step_size": 0.1}
    with pytest.warns(UserWarning, match="nothing says whether ExponentialFamily is proper.*defin"):
        sample(general_prior(ExponentialFamily), 5, method, **options)
    sample(general_prior(), 5, method, **options)
    bounded: Prior = ExponentialFamily(2, torch.square, support=(-1.0, 1.0))
    sample(bounded, 5, method, **options)


@pytest.mark.filterwarnings("ignore:sample. the prior is improper")
@pytest.mark.parametrize("method", ["svgd", "svgd-per-dim", "ula", "mala"])
def test_samples_of_an_improper_prior_depend_on_the_steps(method: str) -> None:
    """As the warning says: p ∝ exp(z²/2), from which every sampler climbs without end."""
    prior = FactorablePolynomial(2, 2)
    prior.set_eta(torch.tensor([[0.0, 0.5]] * 2))
    few, many = (
        sample(prior, 50, method, seeded(), steps=steps, step_size=0.05) for steps in (20, 80)
    )
    assert many.abs().mean() > 2 * few.abs().mean()


def test_a_confined_prior_can_be_sampled() -> None:
    prior = improper_prior()
    latents = torch.randn(200, 3)
    z = sample(prior.confine(latents), 500)
    assert bool(((z >= prior.support[:, 0]) & (z <= prior.support[:, 1])).all())


def test_divergence_is_an_error() -> None:
    with (
        pytest.warns(UserWarning, match="improper"),
        pytest.raises(NonFiniteError, match=r"'ula' diverged.*step_size smaller than 0\.5"),
    ):
        sample(improper_prior(), 20, "ula", steps=200, step_size=0.5)


def test_collapse_is_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"spread of 'svgd' is 0\.\d\d .*svgd-per-dim"):
        sample(StandardNormal(64), 50, "svgd", steps=200, step_size=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be a whole number, at least 1, got 0"),
        ({"n": 5, "method": "gibbs"}, "unknown method 'gibbs', known are auto, exact, svgd"),
        ({"n": 5, "method": "mala", "stepsize": 1}, "no option 'stepsize'.*steps, step_size"),
        ({"n": 5, "method": "exact", "steps": 3}, "no option 'steps', its options are: none"),
        ({"n": 5, "method": "svgd", "steps": 0}, "steps must be a positive integer, got 0"),
        ({"n": 5, "method": "svgd", "steps": 1.5}, "steps must be a positive integer, got 1.5"),
        ({"n": 5, "method": "ula", "step_size": -1.0}, "step_size must be a positive number"),
        ({"n": 5, "method": "ula", "step_size": float("nan")}, "step_size must be a positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(StandardNormal(2), **arguments)


@pytest.mark.parametrize("method", ["exact", "svgd-per-dim"])
def test_methods_for_some_priors_refuse_the_others(method: str) -> None:
    with pytest.raises(InputError, match=r"needs a FactorablePrior.*ExponentialFamily is none"):
        sample(general_prior(ExponentialFamily), 5, method)

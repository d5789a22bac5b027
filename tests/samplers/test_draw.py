"""The contract that all samplers keep, and `sample`, its checks, warnings and diagnostics."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from fisherae import sample as public_sample
from fisherae.errors import InputError, NonFiniteError
from fisherae.priors import ExponentialFamily, FactorablePolynomial, StandardNormal
from fisherae.samplers import MALA, METHODS, SVGD, ULA, Exact, Sampler, sample

SAMPLERS: dict[str, Callable[..., Sampler[Any]]] = {
    "exact": Exact,
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


def general_prior() -> ExponentialFamily:
    prior = ExponentialFamily(2, lambda z: -z.square() / 2)
    torch.nn.init.ones_(prior.eta)
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


@pytest.mark.parametrize("name", ["exact", "ula", "mala"])
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
        ({"n": 0}, "n must be at least 1, got 0"),
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
def test_factorable_methods_refuse_other_priors(method: str) -> None:
    with pytest.raises(InputError, match="needs a factorable prior, ExponentialFamily is not"):
        sample(general_prior(), 5, method)

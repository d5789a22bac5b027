"""What every prior promises, tested once for all of them."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from fisherae.divergences import hyvarinen_score
from fisherae.errors import InputError
from fisherae.priors import (
    EnergyPrior,
    ExponentialFamily,
    FactorablePolynomial,
    GaussianMixture,
    PairwisePolynomial,
    StandardNormal,
    energy,
)

DIM = 3


def interactions(z: Tensor) -> Tensor:
    """Not factorable: z₁, z₂², z₁z₂, sin z₃."""
    first, second, third = z.unbind(-1)
    return torch.stack([first, second.square(), first * second, third.sin()], dim=-1)


def quartic(z: Tensor) -> Tensor:
    return -z.pow(4).sum(-1)


class LearnedCarrier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.rand(DIM) + 0.5)

    def forward(self, z: Tensor) -> Tensor:
        return -(self.precision * z.square()).sum(-1) / 2


def exponential(statistics, carrier=None, **options):
    prior = ExponentialFamily(DIM, statistics(), carrier and carrier(), **options)
    with torch.no_grad():
        prior.eta.normal_()
    return prior


def features() -> nn.Module:
    return nn.Sequential(nn.Linear(DIM, 8), nn.Tanh(), nn.Linear(8, 4, bias=False))


def polynomial(order, fitted=False, support=None):
    prior = FactorablePolynomial(DIM, order, support)
    prior.set_eta(torch.randn(DIM, order))
    return prior.fit(3 + 2 * torch.randn(500, DIM)) if fitted else prior


def pairwise(order, fitted=False):
    prior = PairwisePolynomial(DIM, order)
    pairs = torch.randn(DIM, DIM).triu(1)
    prior.set_eta(torch.randn(DIM, order), pairs + pairs.mT)
    return prior.fit(3 + 2 * torch.randn(500, DIM) @ (torch.eye(DIM) + 0.3)) if fitted else prior


def energy_prior(fitted=False):
    prior = EnergyPrior(DIM, width=8)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_()
    modes = 6 * (torch.rand(500, 1) > 0.5)
    return prior.fit(modes + torch.randn(500, DIM)) if fitted else prior


def mixture():
    samples = torch.randn(300, DIM)
    samples[:200] *= 0.3
    return GaussianMixture(DIM, components=3).fit(1 + samples)


PRIORS = {
    "squares": partial(exponential, lambda: torch.square),
    "interactions": partial(exponential, lambda: interactions),
    "on-an-interval": partial(exponential, lambda: torch.square, support=(-9.0, 9.0)),
    "carrier": partial(exponential, lambda: interactions, lambda: quartic),
    "module": partial(exponential, features),
    "modules": partial(exponential, features, LearnedCarrier),
    "mixture": mixture,
    "normal": partial(StandardNormal, DIM),
    **{f"polynomial-{order}": partial(polynomial, order) for order in range(2, 7)},
    "polynomial-fitted": partial(polynomial, 4, fitted=True),
    "polynomial-half-line": partial(polynomial, 3, support=(-9.0, None)),
    "pairwise-2": partial(pairwise, 2),
    "pairwise-4": partial(pairwise, 4),
    "pairwise-fitted": partial(pairwise, 4, fitted=True),
    "energy": energy_prior,
    "energy-fitted": partial(energy_prior, fitted=True),
}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Of the only fit that is not in closed form."""
    monkeypatch.setattr(energy, "_STEPS", 50)


@pytest.fixture(params=PRIORS.values(), ids=PRIORS)
def make(request):
    return request.param


@pytest.fixture
def prior(make):
    return make().double()


@pytest.fixture
def z():
    return torch.randn(5, DIM, dtype=torch.float64)


class Score(nn.Module):
    """z ↦ ∇ log p(z), for functional_call."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def forward(self, z):
        return self.prior.score(z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (5,), (2, 4)])
def test_shapes_and_dtypes(make, batch, dtype):
    prior, z = make().to(dtype), torch.randn(*batch, DIM, dtype=dtype)
    log_density, score = prior.log_density(z), prior.score(z)
    assert (log_density.shape, log_density.dtype) == (batch, dtype)
    assert (score.shape, score.dtype) == ((*batch, DIM), dtype)


def test_score_is_the_gradient_of_the_log_density(prior, z):
    z.requires_grad_()
    (expected,) = torch.autograd.grad(prior.log_density(z).sum(), z)
    torch.testing.assert_close(prior.score(z), expected)


def test_laplacian_is_the_trace_of_the_hessian(prior, z):
    expected = torch.stack([hessian(prior.log_density, point).trace() for point in z])
    torch.testing.assert_close(prior.laplacian(z), expected)
    assert prior.laplacian(z[0]).shape == ()


def test_start_is_spread_as_it_says(prior):
    z = prior.start(20_000, torch.Generator().manual_seed(0))
    assert (z.shape, z.dtype) == ((20_000, DIM), torch.float64)
    assert not z.requires_grad
    torch.testing.assert_close(z.std(0), prior.spread, rtol=0.03, atol=0)
    assert torch.equal(z, prior.start(20_000, torch.Generator().manual_seed(0)))


def test_score_is_differentiable_in_the_points_and_in_every_parameter(prior, z):
    """The derivatives that the posterior term of the objective needs, by finite differences."""
    module = Score(prior)
    names = [name for name, _ in module.named_parameters()]

    def score(z, *parameters):
        return functional_call(module, dict(zip(names, parameters, strict=True)), (z,))

    inputs = (z.requires_grad_(), *module.parameters())
    assert torch.autograd.gradcheck(score, inputs)


@pytest.mark.parametrize("value", ["log_density", "score"])
def test_gradients_reach_every_parameter(prior, z, value):
    for name, parameter in prior.named_parameters():
        loss = getattr(prior, value)(z).square().sum()
        (gradient,) = torch.autograd.grad(loss, parameter)
        assert gradient.abs().sum() > 0, name


def test_score_stays_in_the_graph_of_the_points(prior):
    root = torch.randn(5, DIM, dtype=torch.float64, requires_grad=True)
    (through,) = torch.autograd.grad(prior.score(2 * root).square().sum(), root)
    point = (2 * root).detach().requires_grad_()
    (direct,) = torch.autograd.grad(prior.score(point).square().sum(), point)
    torch.testing.assert_close(through, 2 * direct)


def test_values_without_gradients(prior, z):
    with torch.no_grad():
        score = prior.score(z)
    assert not score.requires_grad
    torch.testing.assert_close(score, prior.score(z).detach())


@pytest.mark.parametrize("what", ["log_density", "score", "laplacian"])
def test_values_in_inference_mode(prior, z, what):
    """Where autograd would say that all gradients are zero."""
    with torch.inference_mode():
        value = getattr(prior, what)(z.clone())
    torch.testing.assert_close(value, getattr(prior, what)(z).detach())


def test_fit_in_inference_mode(make):
    z, inside, outside = torch.randn(400, DIM), make(), make()
    inside.load_state_dict(outside.state_dict())
    with torch.inference_mode():
        inside.fit(z.clone())
    outside.fit(z)
    for name, tensor in outside.state_dict().items():
        torch.testing.assert_close(inside.state_dict()[name], tensor, msg=name)


def test_state_dict_round_trip(make):
    torch.manual_seed(1)
    saved, fresh, z = make(), make(), torch.randn(5, DIM)
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.log_density(z), saved.log_density(z))
    assert torch.equal(fresh.score(z), saved.score(z))
    assert torch.equal(fresh.support, saved.support)


def weighted_score_matching(prior, z, support, units):
    """Σ_j E[½ g_j s_j² + ∂_j(g_j s_j)], g_j the product of the distances to the finite ends of the
    support and of the squared unit of z_j: the Hyvärinen score where all are 1."""
    z = z.clone().requires_grad_()
    g = units.square().expand_as(z)
    for end in support.unbind(-1):
        g = g * torch.where(end.isfinite(), (z - end).abs(), 1.0)
    s = prior.score(z)
    total = (g * s * s).sum(-1) / 2
    for j in range(DIM):
        (slope,) = torch.autograd.grad((g * s)[:, j].sum(), z, create_graph=True)
        total = total + slope[:, j]
    return total.mean()


def test_fit_minimises_the_score_matching_objective(prior):
    """The gradient in the natural parameters is zero at the closed form."""
    z = 0.5 + 0.8 * torch.randn(400, DIM, dtype=torch.float64)
    support = prior.support.clone()
    if getattr(prior, "spec", {"support": "given"}).get("support") is None:
        support = torch.full_like(support, torch.inf)  # what it has may come from an earlier fit
    # Dimensions that share parameters are weighed by their spread.
    units = z.std(0) if isinstance(prior, PairwisePolynomial) else torch.ones_like(z[0])
    assert prior.fit(z) is prior
    if isinstance(prior, EnergyPrior):
        return  # not in closed form: test_energy.py
    natural = [p for name, p in prior.named_parameters() if name in ("eta", "weight", "coupling")]
    for parameter in natural:
        loss = weighted_score_matching(prior, z, support, units)
        (gradient,) = torch.autograd.grad(loss, parameter)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-8, rtol=0)
    if not support.isfinite().any():
        units = torch.ones_like(units)
        expected = hyvarinen_score(prior, z).mean()
        torch.testing.assert_close(weighted_score_matching(prior, z, support, units), expected)


def test_fit_touches_the_natural_parameters_alone(prior):
    others = ("statistics", "carrier")
    before = {n: p.clone() for n, p in prior.named_parameters() if n.startswith(others)}
    prior.fit(torch.randn(400, DIM, dtype=torch.float64))
    for name, parameter in before.items():
        assert torch.equal(parameter, prior.get_parameter(name))


def test_fit_takes_the_dtype_of_the_samples_as_it_comes(make):
    z = torch.randn(400, DIM)
    single, double = make(), make()
    double.load_state_dict(single.state_dict())
    single.fit(z)
    double.fit(z.double())
    torch.testing.assert_close(single.score(z), double.score(z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["log_density", "score", "fit"])
def test_wrong_latent_size(prior, method):
    with pytest.raises(InputError, match="4 latent dimensions where the prior has 3"):
        getattr(prior, method)(torch.randn(50, 4, dtype=torch.float64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fit_names_the_sample_that_is_not_finite(prior, value):
    z = torch.randn(50, DIM, dtype=torch.float64)
    z[17, 2] = value
    with pytest.raises(InputError, match=rf"z\[17, 2\] is {value}: .* finite"):
        prior.fit(z)


@pytest.mark.parametrize(
    "z",
    [torch.full((50, DIM), torch.nan), torch.ones(50, DIM), 5 + torch.rand(2, DIM)],
    ids=["nan", "constant", "few"],
)
def test_a_refused_fit_changes_nothing(make, z):
    prior = make()
    if isinstance(prior, (StandardNormal, ExponentialFamily)) and z.isfinite().all():
        return  # some statistics are determined by any sample
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    with pytest.raises(InputError):
        prior.fit(z)
    for name, tensor in before.items():
        assert torch.equal(prior.state_dict()[name], tensor), name


@pytest.mark.parametrize("family", [FactorablePolynomial, PairwisePolynomial])
def test_a_refused_confine_changes_nothing(family):
    prior = family(DIM, 4)
    prior.set_eta(torch.eye(4)[3].expand(DIM, 4))  # rises on either side
    prior.confine(torch.randn(50, DIM))
    before = prior.support.clone()
    assert before.isfinite().all()
    with pytest.raises(InputError):
        prior.confine(torch.full((50, DIM), torch.nan))
    assert torch.equal(prior.support, before)


@pytest.mark.parametrize("value", ["log_density", "laplacian", "eta", "pairs"])
def test_what_was_computed_before_the_prior_follows_stays_differentiable(value):
    prior, z = PairwisePolynomial(DIM, 4), torch.randn(5, DIM)
    what = getattr(prior, value)
    total = (what(z) if callable(what) else what).square().sum()
    expected = torch.autograd.grad(
        total, [prior.weight, prior.coupling], retain_graph=True, allow_unused=True
    )
    prior.follow(3 + z)
    after = torch.autograd.grad(total, [prior.weight, prior.coupling], allow_unused=True)
    for one, other in zip(after, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_the_density_is_zero_outside_its_support():
    interval = PRIORS["on-an-interval"]()
    half_line = PRIORS["polynomial-half-line"]()
    z = torch.tensor([[0.0, 0.0, 0.0], [0.0, -9.5, 0.0], [0.0, 0.0, 9.5]])
    assert interval.log_density(z).isfinite().tolist() == [True, False, False]
    assert half_line.log_density(z).isfinite().tolist() == [True, False, True]
    assert half_line.log_density(z)[1] == -torch.inf


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ((1.0, 1.0), "support of dimension 0 is empty"),
        ([(0.0, 1.0), (2.0, 1.0), (0.0, 1.0)], "support of dimension 1 is empty"),
        ((0.0, float("nan")), "is empty"),
        ([(0.0, 1.0)] * 2, r"one interval \(lower, upper\) or 3 of them"),
        ((0.0, 1.0, 2.0), r"one interval \(lower, upper\) or 3 of them"),
    ],
)
def test_unusable_support(support, message):
    with pytest.raises(InputError, match=message):
        FactorablePolynomial(DIM, 4, support)
    with pytest.raises(InputError, match=message):
        ExponentialFamily(DIM, torch.square, support=support)


@pytest.mark.parametrize("dim", [0, -1])
def test_unusable_dim(dim):
    with pytest.raises(InputError, match=f"dim must be a positive integer, got {dim}"):
        StandardNormal(dim)

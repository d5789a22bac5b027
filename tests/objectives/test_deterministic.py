"""Plain, denoising, contractive and regularised auto-encoders against closed forms of linear ones,
their gradients against finite differences, and what each term reaches."""

import inspect
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import fisherae as fae
from fisherae.objectives.deterministic import squared_jacobian

D, d, N = 6, 3, 200_000
S2 = 0.4


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def linear(A: Tensor, W: Tensor, posterior: str = "delta") -> fae.Autoencoder:
    """z = Ax, f(z) = Wz, s² = 0.4."""
    encoder, decoder = nn.Linear(D, d, bias=False), nn.Linear(d, D, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(A)
        decoder.weight.copy_(W)
    return fae.Autoencoder(
        encoder, decoder, fae.StandardNormal(d), fae.GaussianLikelihood(S2), posterior
    )


def curved() -> fae.Autoencoder:
    encoder = nn.Sequential(nn.Linear(D, 7), nn.SiLU(), nn.Linear(7, d))
    decoder = nn.Sequential(nn.Linear(d, 7), nn.Tanh(), nn.Linear(7, D), nn.Sigmoid())
    return fae.Autoencoder(encoder, decoder, fae.StandardNormal(d), "bernoulli", "delta")


@pytest.fixture
def A() -> Tensor:
    return torch.randn(d, D)


@pytest.fixture
def W() -> Tensor:
    return torch.randn(D, d)


OBJECTIVES: dict[str, Callable[[fae.Autoencoder], nn.Module]] = {
    "plain": fae.DenoisingObjective,
    "denoising": lambda model: fae.DenoisingObjective(model, 0.3),
    "contractive": lambda model: fae.ContractiveObjective(model, 0.7),
    "contractive, exact": lambda model: fae.ContractiveObjective(model, 0.7, probes=None),
    "regularised": lambda model: fae.RegularizedObjective(model, 0.3, 0.2),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_equal_finite_differences(name: str) -> None:
    """Of every single parameter, in float64, the random numbers the same each time."""
    objective, x = OBJECTIVES[name](curved()), torch.rand(4, D)

    def loss() -> Tensor:
        torch.manual_seed(1)
        return objective(x).total

    loss().backward()
    for parameter in objective.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            value = flat[i].item()
            flat[i] = value + 1e-6
            above = loss().item()
            flat[i] = value - 1e-6
            below = loss().item()
            flat[i] = value
            assert gradient[i].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-7)


def test_plain_reconstruction(A: Tensor, W: Tensor) -> None:
    """½ ‖x − WAx‖² / s² + D/2 log(2π s²)."""
    x = torch.randn(5, D)
    term = fae.DenoisingObjective(linear(A, W))(x, reduce=False).reconstruction
    error = (x - x @ A.T @ W.T).square().sum(1)
    torch.testing.assert_close(term, error / (2 * S2) + D / 2 * math.log(2 * math.pi * S2))


@pytest.mark.parametrize(("noise", "graded"), [(0.1, False), (1.0, False), (1.0, True)])
def test_denoising_adds_what_noise_adds(A: Tensor, W: Tensor, noise: float, graded: bool) -> None:
    """Of a linear model E ‖x − WA(x + √v ε)‖² = ‖x − WAx‖² + E[v] ‖WA‖²_F; E[u⁸] = 1/9."""
    x, model = torch.randn(D), linear(A, W)
    with torch.no_grad():
        plain = fae.DenoisingObjective(model)(x[None]).reconstruction
        objective = fae.DenoisingObjective(model, noise, graded)
        values = objective(x.expand(N, D), reduce=False).reconstruction
    expected = (noise / 9 if graded else noise) * (W @ A).square().sum() / (2 * S2)
    error = values.std() / N**0.5
    assert expected > 20 * error
    assert abs(values.mean() - plain - expected) < 4 * error


def test_the_best_linear_denoiser_is_ridge_regression() -> None:
    """With d = D its minimum is WA = C (C + v I)⁻¹ of data with second moments C."""
    x, noise = torch.randn(50, D) @ torch.randn(D, D), 0.5
    C = x.T @ x / len(x)
    ridge = C @ torch.linalg.inv(C + noise * torch.eye(D))
    best = nn.Linear(D, D, bias=False)
    best.weight.data = ridge.clone()
    identity = nn.Identity()
    model = fae.Autoencoder(best, identity, fae.StandardNormal(D), "gaussian", "delta")
    images = x.repeat(4_000, 1)
    fae.DenoisingObjective(model, noise)(images).total.backward()
    scale = (C + noise * torch.eye(D)).norm()
    assert best.weight.grad.norm() < 0.02 * scale, "no slope at the minimum"
    with torch.no_grad():
        best.weight.mul_(1.2)
    best.zero_grad()
    fae.DenoisingObjective(model, noise)(images).total.backward()
    assert best.weight.grad.norm() > 0.1 * scale, "and one beside it"


@pytest.mark.parametrize("probes", [1, 3, None])
def test_contraction_of_a_linear_encoder_is_its_squared_norm(
    A: Tensor, W: Tensor, probes: int | None
) -> None:
    objective = fae.ContractiveObjective(linear(A, W), 0.7, probes)
    with torch.no_grad():
        term = objective(torch.randn(50_000, D), reduce=False).contraction
    expected, error = 0.7 * A.square().sum(), term.std() / len(term) ** 0.5
    if probes is None:
        torch.testing.assert_close(term, expected.expand_as(term))
    else:
        assert abs(term.mean() - expected) < 4 * error
        assert error < 0.01 * expected


def test_more_probes_reduce_the_variance(A: Tensor, W: Tensor) -> None:
    """Of Hutchinson's estimate with signs it is 2 Σ_{i≠j} (AAᵀ)²_ij, over the probes."""
    gram = A @ A.T
    expected = 2 * (gram.square().sum() - gram.diagonal().square().sum())
    for probes in (1, 4):
        with torch.no_grad():
            objective = fae.ContractiveObjective(linear(A, W), 1.0, probes)
            term = objective(torch.randn(50_000, D), reduce=False).contraction
        assert term.var().item() == pytest.approx(expected.item() / probes, rel=0.05)


def test_jacobian_of_images() -> None:
    """Against the Jacobian itself, of a network that is not linear."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    x = torch.randn(4, 2, 2, 2, requires_grad=True)
    expected = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda one: network(one[None])[0], image)
            .square()
            .sum()
            for image in x.detach()
        ]
    )
    torch.testing.assert_close(squared_jacobian(network(x), x), expected)


def test_contraction_is_the_stability_term_of_a_fixed_variance(A: Tensor, W: Tensor) -> None:
    """E ½ ‖∇_x log q(z|x)‖² of q = N(Ax, I / (2λ)) is λ ‖A‖²_F."""
    weight, encoder, decoder = 0.7, nn.Linear(D, 2 * d), nn.Linear(d, D)
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([A, torch.zeros(d, D)]))
        encoder.bias.copy_(torch.tensor([0.0, -math.log(2 * weight)]).repeat_interleave(d))
        fisher = fae.FisherObjective(fae.Autoencoder(encoder, decoder, fae.StandardNormal(d)))
        stability = fisher(torch.randn(N, D), reduce=False).stability
    exact = fae.ContractiveObjective(linear(A, W), weight, probes=None)(torch.randn(1, D))
    assert abs(stability.mean() - exact.contraction) < 4 * stability.std() / N**0.5


def test_regularised_terms(A: Tensor, W: Tensor) -> None:
    x = torch.randn(5, D)
    terms = fae.RegularizedObjective(linear(A, W), 0.3, 0.2)(x, reduce=False)
    z = x @ A.T
    torch.testing.assert_close(terms.reconstruction, (x - z @ W.T).square().sum(1))
    torch.testing.assert_close(terms.latent, 0.15 * z.square().sum(1))
    torch.testing.assert_close(terms.decoder, 0.2 * W.square().sum().expand(5))


ROUTES = {
    ("denoising", "reconstruction"): {"encoder", "decoder"},
    ("contractive", "reconstruction"): {"encoder", "decoder"},
    ("contractive", "contraction"): {"encoder"},
    ("regularised", "reconstruction"): {"encoder", "decoder"},
    ("regularised", "latent"): {"encoder"},
    ("regularised", "decoder"): {"decoder"},
}


@pytest.mark.parametrize(("name", "term"), ROUTES)
def test_what_each_term_reaches(name: str, term: str) -> None:
    objective = OBJECTIVES[name](curved())
    objective(torch.rand(4, D)).by_name()[term].backward()
    reached = {
        part
        for part in ("encoder", "decoder")
        for parameter in getattr(objective.model, part).parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert reached == ROUTES[name, term]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_other_encoders_are_refused(name: str) -> None:
    model = fae.Autoencoder(nn.Linear(D, 2 * d), nn.Linear(d, D), fae.StandardNormal(d))
    with pytest.raises(fae.InputError, match=r"deterministic encoder.*got DiagonalGaussian"):
        OBJECTIVES[name](model)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m, v: fae.ContractiveObjective(m, v), "weight λ must be positive"),
        (lambda m, v: fae.RegularizedObjective(m, v), "weight β must be positive"),
        (lambda m, v: fae.RegularizedObjective(m, 0.1, v), "weight λ must be positive"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_unusable_weights(build: Callable[..., nn.Module], message: str, value: float) -> None:
    with pytest.raises(fae.InputError, match=f"{message}.*{value}"):
        build(curved(), value)


@pytest.mark.parametrize("noise", [-0.1, math.inf, math.nan])
def test_unusable_noise(noise: float) -> None:
    with pytest.raises(fae.InputError, match=f"finite number ≥ 0, got {noise}"):
        fae.DenoisingObjective(curved(), noise)


@pytest.mark.parametrize("probes", [0, -1])
def test_unusable_probes(probes: object) -> None:
    with pytest.raises(fae.InputError, match=f"probes must be at least 1, or None.*got {probes}"):
        fae.ContractiveObjective(curved(), 0.1, probes)


def test_whole_numbers_have_no_jacobian() -> None:
    objective = fae.ContractiveObjective(curved())
    forward = inspect.unwrap(fae.ContractiveObjective.forward)  # without the tests' type checker
    with pytest.raises(fae.InputError, match=r"the images are torch\.int64: give floats"):
        forward(objective, torch.ones(3, D, dtype=torch.long))

"""Theorem 1 and Remark 1 against closed forms, on the linear-Gaussian model.

x ~ N(0, S), q(z|x) = N(Ax, Σ) with Σ diagonal, p(z) = N(0, I), p(x|z) = N(Wz, s²I). With
z = Ax + e, e ~ N(0, Σ), every score is linear in (x, e), so that every expectation is a trace.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import fisherae as fae
from fisherae.objectives import FisherTerms

D, d, N = 6, 3, 400_000
SEEDS = range(5)
TERMS = ("posterior", "reconstruction", "stability")


@dataclass
class LinearGaussian:
    S: Tensor  # (D, D)
    A: Tensor  # (d, D)
    sigma2: Tensor  # (d,), the diagonal of Σ
    W: Tensor  # (D, d)
    s2: Tensor

    def half_mean_square(self, x_part: Tensor, e_part: Tensor) -> Tensor:
        """½ E ‖X x + E e‖² = ½ tr(X S Xᵀ) + ½ tr(E Σ Eᵀ)."""
        e_cov = e_part * self.sigma2
        return (torch.trace(x_part @ self.S @ x_part.T) + torch.trace(e_cov @ e_part.T)) / 2

    def score_z_mismatch(self) -> tuple[Tensor, Tensor]:
        """∇_z log q(z|x) − ∇_z log p(z) − ∇_z log p(x|z), its parts in x and in e."""
        pull = self.W.T / self.s2
        x_part = self.A - pull @ (torch.eye(D) - self.W @ self.A)
        e_part = -torch.diag(1 / self.sigma2) + torch.eye(d) + pull @ self.W
        return x_part, e_part

    def expected_terms(self) -> dict[str, Tensor]:
        """The expectation of each term of eq. (10)."""
        residual = torch.eye(D) - self.W @ self.A, -self.W
        return {
            "posterior": self.half_mean_square(*self.score_z_mismatch()),
            "reconstruction": self.half_mean_square(*residual) / self.s2**2 - D / self.s2,
            "stability": (self.A.square().sum(1) / self.sigma2).sum() / 2,
        }

    def joint_divergence(self, noise: float = 0.0) -> Tensor:
        """D_∇[p⋆(x) q(z|x) ‖ p(z) p(x|z)], eq. (8), or with noise that of the joints of (x, n, z),
        where z = A(x + √v n) + e, in the mean over v = noise · u⁸ with
        u ~ U(0, 1), which is noise / 9."""
        residual = torch.eye(D) - self.W @ self.A, -self.W
        x_part = residual[0] / self.s2 - torch.linalg.inv(self.S)
        e_part = residual[1] / self.s2 + self.A.T / self.sigma2
        clean = self.half_mean_square(x_part, e_part) + self.half_mean_square(
            *self.score_z_mismatch()
        )
        # What √v n adds to the scores in x and z, through z; and the score in n, √v Aᵀ Σ⁻¹ e.
        reached = self.W @ self.A / self.s2, self.A + self.W.T @ self.W @ self.A / self.s2
        added = (
            sum(part.square().sum() for part in reached)
            + (self.A.square().sum(1) / self.sigma2).sum()
        )
        return clean + noise / 9 * added / 2

    def model(self) -> fae.Autoencoder:
        encoder, decoder = nn.Linear(D, 2 * d), nn.Linear(d, D, bias=False)
        with torch.no_grad():
            encoder.weight.copy_(torch.cat([self.A, torch.zeros(d, D)]))
            encoder.bias.copy_(torch.cat([torch.zeros(d), self.sigma2.log()]))
            decoder.weight.copy_(self.W)
        likelihood = fae.GaussianLikelihood(self.s2.item())
        return fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(d, 2), likelihood)

    def losses(self, **options: object) -> FisherTerms:
        x = torch.randn(N, D) @ torch.linalg.cholesky(self.S).T
        with torch.no_grad():
            return fae.FisherObjective(self.model(), **options)(x, reduce=False)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def random_model(seed: int) -> LinearGaussian:
    torch.manual_seed(seed)
    root = torch.randn(D, D)
    return LinearGaussian(
        S=root @ root.T / D + 0.5 * torch.eye(D),
        A=torch.linalg.qr(torch.randn(D, d)).Q.T * (torch.rand(d, 1) + 0.5),
        sigma2=torch.rand(d) + 0.3,
        W=torch.randn(D, d) / 2,
        s2=torch.rand(()) + 0.5,
    )


def with_exact_posterior(seed: int) -> LinearGaussian:
    """W with orthogonal columns, so that p(z|x) = N(Ax, Σ) has a diagonal Σ."""
    model = random_model(seed)
    W = torch.linalg.qr(torch.randn(D, d)).Q * (torch.rand(d) + 0.5)
    sigma2 = 1 / (1 + W.square().sum(0) / model.s2)
    return LinearGaussian(model.S, sigma2[:, None] * W.T / model.s2, sigma2, W, model.s2)


def mean_and_error(loss: Tensor) -> tuple[Tensor, Tensor]:
    return loss.mean(), loss.std() / len(loss) ** 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("noise", "fraction"), [(0.0, 1.0), (0.8, 1.0), (0.8, 0.25)])
def test_theorem_1(seed: int, noise: float, fraction: float) -> None:
    """D_∇[joint ‖ joint] − E[L_F-AE] = ½ tr S⁻¹, whatever A, Σ, W, s and the noise."""
    linear = random_model(seed)
    mean, error = mean_and_error(linear.losses(noise=noise, score_fraction=fraction).total)
    constant = torch.trace(torch.linalg.inv(linear.S)) / 2
    assert abs(linear.joint_divergence(noise) - mean - constant) < 4 * error


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
def test_theorem_1_notices_a_wrong_term(seed: int, term: str, factor: float) -> None:
    """The test above bites: a sign or a factor 2 wrong in any term is far outside of its bound."""
    linear = random_model(seed)
    terms = linear.losses()
    wrong = terms.total + (factor - 1) * terms.by_name()[term]
    mean, error = mean_and_error(wrong)
    constant = torch.trace(torch.linalg.inv(linear.S)) / 2
    assert abs(linear.joint_divergence() - mean - constant) > 8 * error


@pytest.mark.parametrize("seed", SEEDS)
def test_the_noise_weighs_the_stability_term(seed: int) -> None:
    """Without the factor 1 + v, the constant of Theorem 1 would depend on the model."""
    linear, noise = random_model(seed), 8.0
    terms = linear.losses(noise=noise)
    unweighted = (linear.A.square().sum(1) / linear.sigma2).sum() / 2
    mean, error = mean_and_error(terms.posterior + terms.reconstruction)
    constant = torch.trace(torch.linalg.inv(linear.S)) / 2
    divergence = linear.joint_divergence(noise)
    assert abs(divergence - mean - (1 + noise / 9) * unweighted - constant) < 4 * error
    assert abs(divergence - mean - unweighted - constant) > 5 * error


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("options", [{}, {"samples": 2}, {"score_fraction": 0.25}])
def test_each_term_has_its_expectation(seed: int, options: dict[str, float]) -> None:
    linear = random_model(seed)
    terms, expected = linear.losses(**options).by_name(), linear.expected_terms()
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        mean, error = mean_and_error(term)
        assert abs(mean - expected[name]) < 4 * error + 1e-12, name


@pytest.mark.parametrize("seed", SEEDS)
def test_remark_1(seed: int) -> None:
    """With the exact posterior, E[L_F-AE] = E s_∇[N(0, C)], C = WWᵀ + s²I, and term ① is zero."""
    linear = with_exact_posterior(seed)
    precision = torch.linalg.inv(linear.W @ linear.W.T + linear.s2 * torch.eye(D))
    expected = torch.trace(precision @ linear.S @ precision) / 2 - torch.trace(precision)
    terms = linear.losses()
    mean, error = mean_and_error(terms.total)
    assert abs(mean - expected) < 4 * error
    assert error < 0.01 * abs(expected)
    torch.testing.assert_close(terms.posterior, torch.zeros(N), atol=1e-20, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_s2_is_the_noise_that_an_encoder_is_made_for(seed: int) -> None:
    """With a decoder of orthogonal columns and the posterior's variances that suit it in a small s,
    s⁴ (② + ③) is what a denoising auto-encoder minimises under noise of variance s², but for what
    does not depend on A: ½ E ‖x − WA(x + s n)‖²."""
    linear = with_exact_posterior(seed)
    linear.sigma2 = linear.s2 / linear.W.square().sum(0)

    def scaled(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        linear.A = A
        terms = linear.losses()
        mean, error = mean_and_error(linear.s2**2 * (terms.reconstruction + terms.stability))
        residual = torch.eye(D) - linear.W @ A
        through = (linear.W @ A).square().sum()
        denoising = torch.trace(residual @ linear.S @ residual.T) + linear.s2 * through
        return mean, error, denoising / 2

    one, other = scaled(torch.randn(d, D)), scaled(torch.randn(d, D) / 8)
    by_fisher, by_denoising = one[0] - other[0], one[2] - other[2]
    assert abs(by_fisher - by_denoising) < 4 * (one[1] + other[1])
    assert one[1] + other[1] < 0.02 * abs(by_denoising)


def test_theorem_1_by_automatic_differentiation() -> None:
    """The joint divergence of eq. (8) by brute force, for a model that is not linear."""
    encoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    decoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    prior = fae.FactorablePolynomial(1, 4)
    prior.set_eta(torch.tensor([[0.2, 0.3, -0.1, -0.2]]))
    model = fae.Autoencoder(encoder, decoder, prior, fae.GaussianLikelihood(0.7))
    data = torch.distributions.MultivariateNormal(
        torch.zeros(2), torch.tensor([[1, 0.3], [0.3, 0.8]])
    )

    def log_q(joint: Tensor) -> Tensor:
        x, z = joint.split([2, 1], dim=-1)
        return data.log_prob(x) + model.encode(x).log_prob(z)

    def log_p(joint: Tensor) -> Tensor:
        x, z = joint.split([2, 1], dim=-1)
        return prior.log_density(z) + model.decode(z).log_prob(x)

    x = data.sample((N,))
    z = model.encode(x).rsample()
    joint = torch.cat([x, z], dim=-1).detach()
    divergence = fae.fisher_divergence(log_q, log_p, joint)
    constant = fae.hyvarinen_score(data, x).mean()  # −E s_∇[p⋆] = ½ E ‖∇ log p⋆‖²
    with torch.no_grad():
        loss, error = mean_and_error(fae.FisherObjective(model)(x, reduce=False).total)
    # Two estimates from different samples: allow for both errors (alike, since the scores are).
    assert abs(divergence + constant - loss) < 4 * 2**0.5 * error
    assert error < 0.02 * abs(loss)

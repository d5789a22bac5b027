"""The Fisher objective: its gradients, which parameters each term reaches, its options."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import fisherae as fae
from fisherae.distributions import DiagonalGaussian
from fisherae.networks import mlp, small

D, d = 5, 2


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class TwoHeads(nn.Module):
    """An encoder whose mean and log σ² share no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(D, 7), nn.SiLU(), nn.Linear(7, d))
        self.log_variance = nn.Sequential(nn.Linear(D, 7), nn.SiLU(), nn.Linear(7, d))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mean(x), self.log_variance(x)], dim=-1)


class FourHeads(TwoHeads):
    """The encoder of a polynomial posterior of order 4; the further heads are the shape's."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Sequential(nn.Linear(D, 7), nn.SiLU(), nn.Linear(7, 2 * d))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), self.shape(x)], dim=-1)


def small_model(order: int = 4) -> fae.Autoencoder:
    decoder = nn.Sequential(nn.Linear(d, 7), nn.Tanh(), nn.Linear(7, D))
    prior = fae.FactorablePolynomial(d, order)
    prior.set_eta(0.1 * torch.randn(d, order))
    return fae.Autoencoder(TwoHeads(), decoder, prior, fae.GaussianLikelihood(0.6, learned=True))


def polynomial_model() -> fae.Autoencoder:
    model = small_model()
    return fae.Autoencoder(
        FourHeads(), model.decoder, model.prior, model.likelihood, posterior="polynomial"
    )


def groups(model: fae.Autoencoder) -> dict[str, list[nn.Parameter]]:
    return {
        "mean": list(model.encoder.mean.parameters()),
        "log_std": list(model.encoder.log_variance.parameters()),
        "decoder": list(model.decoder.parameters()),
        "prior": list(model.prior.parameters()),
        "variance": list(model.likelihood.parameters()),
    }


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (small_model, {}),
        (small_model, {"samples": 3}),
        (small_model, {"noise": 0.5}),
        (polynomial_model, {}),
    ],
    ids=["gaussian", "gaussian, L = 3", "gaussian, noise", "polynomial"],
)
def test_gradients_equal_finite_differences(
    build: Callable[[], fae.Autoencoder], options: dict[str, Any]
) -> None:
    """With respect to φ, θ, η and s², in float64, every single parameter."""
    objective = fae.FisherObjective(build(), **options)
    x = torch.randn(4, D)

    def loss() -> Tensor:
        torch.manual_seed(1)  # the same ε each time
        return objective(x).total

    loss().backward()
    step = 1e-6
    for name, parameter in objective.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            value = flat[i].item()
            flat[i] = value + step
            above = loss().item()
            flat[i] = value - step
            below = loss().item()
            flat[i] = value
            difference = (above - below) / (2 * step)
            assert gradient[i].item() == pytest.approx(difference, rel=1e-5, abs=1e-5), (name, i)


ROUTES = {
    # variant, term: the parameter groups that its gradient reaches.
    ("exact", "posterior"): {"mean", "log_std", "decoder", "prior", "variance"},
    ("exact", "reconstruction"): {"mean", "log_std", "decoder", "variance"},
    ("exact", "stability"): {"mean", "log_std"},
    # The two holes of the published code: the posterior term does not train the decoder (its
    # score is a constant), and the stability term does not train the encoder's mean.
    ("reference", "posterior"): {"mean", "log_std", "prior"},
    ("reference", "reconstruction"): {"mean", "log_std", "decoder", "variance"},
    ("reference", "stability"): {"log_std"},
}


@pytest.mark.parametrize(("variant", "term"), ROUTES)
def test_routes_of_the_gradient(variant: str, term: str) -> None:
    model = small_model()
    terms = fae.FisherObjective(model, variant=variant)(torch.randn(16, D))
    parameters = groups(model)
    flat = [p for group in parameters.values() for p in group]
    gradients = torch.autograd.grad(terms.by_name()[term], flat, allow_unused=True)
    norms = dict.fromkeys(parameters, 0.0)
    names = [name for name, group in parameters.items() for _ in group]
    for name, gradient in zip(names, gradients, strict=True):
        norms[name] += 0.0 if gradient is None else gradient.norm().item()
    # Rounding is all that is left where the reference's two paths to the mean cancel.
    assert {name for name, norm in norms.items() if norm > 1e-10} == ROUTES[variant, term], norms


def test_a_polynomial_posteriors_shape_is_trained() -> None:
    """By each term, as the other heads of the encoder are."""
    model = polynomial_model()
    terms = fae.FisherObjective(model)(torch.randn(16, D))
    for name, term in terms.by_name().items():
        heads = (model.encoder.mean, model.encoder.log_variance, model.encoder.shape)
        for head in heads:
            gradients = torch.autograd.grad(term, list(head.parameters()), retain_graph=True)
            assert sum(gradient.norm() for gradient in gradients) > 1e-10, name


def test_reference_stability_is_the_slope_of_log_std() -> None:
    """½ ‖∇_x Σ_j log σ_j(x)‖², whatever the sample."""
    model = small_model()
    x = torch.randn(16, D)
    terms = fae.FisherObjective(model, variant="reference")(x, reduce=False)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model.encode(x).log_std.sum(), x)
    torch.testing.assert_close(terms.stability, slope.square().sum(-1) / 2)


def test_variants_agree_in_value_but_for_stability() -> None:
    model, x = small_model(), torch.randn(16, D)
    values = {}
    for variant in ("exact", "reference"):
        torch.manual_seed(1)
        values[variant] = fae.FisherObjective(model, variant=variant)(x, reduce=False)
    torch.testing.assert_close(values["exact"].posterior, values["reference"].posterior)
    torch.testing.assert_close(values["exact"].reconstruction, values["reference"].reconstruction)
    assert not torch.allclose(values["exact"].stability, values["reference"].stability)


def exact_stability(model: fae.Autoencoder, x: Tensor) -> Tensor:
    """½ Σ_j (‖∇μ_j‖² / σ_j² + 2 ‖∇ log σ_j‖²), with d products per head."""
    x = x.clone().requires_grad_()
    q = model.encode(x)
    total = torch.zeros(len(x))
    for j in range(model.dim):
        for output, weight in ((q.mean[:, j], 1 / q.std[:, j] ** 2), (q.log_std[:, j], 2.0)):
            (slope,) = torch.autograd.grad(output.sum(), x, retain_graph=True)
            total = total + slope.flatten(1).square().sum(1) * weight / 2
    return total.detach()


def trained_batch_norm_network() -> nn.Module:
    encoder = small.encoder((1, 8, 8), d, normalization="batch")
    for _ in range(5):
        encoder(torch.rand(32, 1, 8, 8))  # moves the running statistics off (0, 1)
    return encoder.eval()


@pytest.mark.parametrize(
    ("encoder", "shape", "draws"),
    [
        (lambda: mlp.encoder((D,), d, hidden=(7,)), (D,), 20_000),
        (trained_batch_norm_network, (1, 8, 8), 1_500),
    ],
    ids=["mlp", "batch-norm"],
)
def test_stability_has_its_exact_expectation(encoder, shape, draws) -> None:
    decoder = mlp.decoder(shape, d, hidden=(7,))
    model = fae.Autoencoder(encoder(), decoder, fae.StandardNormal(d)).eval()
    images = torch.rand(3, *shape)
    with torch.no_grad():
        terms = fae.FisherObjective(model)(images.repeat_interleave(draws, 0), reduce=False)
    stability = terms.stability.view(3, draws)
    error = stability.std(1) / draws**0.5
    expected = exact_stability(model, images)
    assert ((stability.mean(1) - expected).abs() < 4 * error).all()
    assert (error < 0.1 * expected).all()


def test_decoder_score_is_the_product_with_its_jacobian() -> None:
    """J_f(z)ᵀ (x − f(z)) / s² with the Jacobian written out; likewise the encoder's score."""
    model, x = small_model(), torch.randn(1, D)
    terms = fae.FisherObjective(model)
    torch.manual_seed(1)
    value = terms(x, reduce=False)
    torch.manual_seed(1)
    q = model.encode(x)
    z = q.rsample()
    s2 = model.likelihood.variance
    jacobian = torch.autograd.functional.jacobian(model.decoder, z)[0, :, 0]  # (D, d)
    decoder_score = (x - model.decoder(z)) @ jacobian / s2
    mismatch = -(z - q.mean) / q.std**2 - model.prior.score(z) - decoder_score
    torch.testing.assert_close(value.posterior, mismatch.square().sum(-1) / 2)

    heads = torch.autograd.functional.jacobian(model.encoder, x)[0, :, 0]  # (2d, D): μ, log σ²
    noise = ((z - q.mean) / q.std)[0]
    encoder_score = (noise / q.std[0]) @ heads[:d] + (noise**2 - 1) @ heads[d:] / 2
    torch.testing.assert_close(value.stability, encoder_score.square().sum()[None] / 2)


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_score_fraction_scores_that_share_of_the_images(fraction: float) -> None:
    model = small_model()
    model.encoder.log_variance[-1].bias.data.fill_(-60)  # σ ≈ 0: the terms lose their randomness
    model.encoder.log_variance[-1].weight.data.zero_()
    x = torch.randn(16, D)
    part = fae.FisherObjective(model, score_fraction=fraction)(x, reduce=False)
    full = fae.FisherObjective(model)(x, reduce=False)
    torch.testing.assert_close(part.reconstruction, full.reconstruction)
    assert (part.posterior != 0).sum() == (part.stability != 0).sum() == 16 * fraction


def test_score_fraction_is_unbiased() -> None:
    model, x = small_model(), torch.randn(64, D)
    x = x.repeat(400, 1)
    with torch.no_grad():
        part = fae.FisherObjective(model, score_fraction=0.25)(x, reduce=False)
        full = fae.FisherObjective(model)(x, reduce=False)
    for name in ("posterior", "stability"):
        a, b = part.by_name()[name], full.by_name()[name]
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert abs(a.mean() - b.mean()) < 4 * error, name
        assert error < 0.1 * b.mean(), name


def test_a_batch_of_one_with_a_small_score_fraction() -> None:
    terms = fae.FisherObjective(small_model(), score_fraction=0.1)(torch.randn(1, D))
    assert all(term.isfinite() for term in terms.by_name().values())


def test_more_samples_average_the_same_posterior() -> None:
    """L samples of one image are as good as one sample of L copies of it."""
    model, x = small_model(), torch.randn(1, D)
    with torch.no_grad():
        torch.manual_seed(1)
        many = fae.FisherObjective(model, samples=1_000)(x, reduce=False)
        copies = fae.FisherObjective(model)(x.expand(10_000, D), reduce=False)
    for name, term in copies.by_name().items():
        error = term.std() / 1_000**0.5 * 1.1**0.5
        assert abs(many.by_name()[name] - term.mean()) < 4 * error, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples"),
        ({"score_fraction": 0.0}, "score_fraction"),
        ({"score_fraction": 1.5}, "score_fraction"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(fae.InputError, match=message):
        fae.FisherObjective(small_model(), **options)


def test_refuses_an_unknown_variant() -> None:
    init = inspect.unwrap(fae.FisherObjective.__init__)  # without the type checker of the tests
    with pytest.raises(fae.InputError, match="variant must be 'exact' or 'reference'"):
        init(nn.Module.__new__(fae.FisherObjective), small_model(), variant="fast")


def test_refuses_models_without_a_hyvarinen_score() -> None:
    encoder, decoder = mlp.encoder((D,), d), mlp.decoder((D,), d)
    bernoulli = fae.Autoencoder(encoder, decoder, fae.StandardNormal(d), "bernoulli")
    with pytest.raises(fae.InputError, match="BernoulliLikelihood has no Hyvärinen score"):
        fae.FisherObjective(bernoulli)
    delta = fae.Autoencoder(
        mlp.encoder((D,), d, outputs_per_dim=1), decoder, fae.StandardNormal(d), posterior="delta"
    )
    with pytest.raises(fae.InputError, match="'gaussian' or 'polynomial', got Delta"):
        fae.FisherObjective(delta)


def test_any_prior_will_do() -> None:
    """Also one without a closed-form score, whose own parameters are learned too."""
    prior = fae.ExponentialFamily(d, lambda z: torch.cat([z, z * z, z.prod(-1, True)], -1))
    model = small_model()
    model.prior = prior
    fae.FisherObjective(model)(torch.randn(8, D)).total.backward()
    assert (prior.eta.grad != 0).all()
    assert DiagonalGaussian is model.posterior


def test_the_variances_of_the_noise() -> None:
    """v = noise · u⁸, anew for each image: against its distribution function, (v / noise)^(1/8)."""
    pixels, noise = 4_000, 0.7
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 2 * d))
    model = fae.Autoencoder(encoder, nn.Linear(d, pixels), fae.StandardNormal(d), "gaussian")
    seen: list[Tensor] = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    torch.manual_seed(0)
    with torch.no_grad():
        fae.FisherObjective(model, noise=noise)(torch.zeros(600, pixels))
    [images] = seen
    variances = images.square().mean(1)
    assert stats.kstest(variances / noise, lambda share: share.clip(0, 1) ** 0.125).pvalue > 0.01
    assert images.mean(1).abs().max() < 5 * (noise / pixels) ** 0.5


@pytest.mark.parametrize("family", [fae.FactorablePolynomial, fae.PairwisePolynomial])
def test_a_prior_that_follows_is_trained_wherever_the_latents_lie(family: Any) -> None:
    """An encoder that is fixed and a decoder that knows nothing of z leave the prior alone in term
    ①, which is least where it is the aggregated posterior: a Gaussian, whose latents depend on
    each other if the family's may."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(d, 2 * d), nn.Linear(d, d)
    share = 0.3 if family is fae.PairwisePolynomial else 0.0
    mix = torch.tensor([[20.0, 0.0], [20 * share, 20.0]])
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([mix, torch.zeros(d, d)]))
        encoder.bias.copy_(torch.tensor([50.0, 50.0, 0.0, 0.0]))
        decoder.weight.zero_()
    model = fae.Autoencoder(encoder, decoder, family(d, order=4), "gaussian")
    objective = fae.FisherObjective(model, samples=2, standardize_prior=True)
    optimizer = torch.optim.Adam(model.prior.parameters(), lr=2e-3)
    for _ in range(300):  # nobody's latents lie at 50 from the first step on
        objective(torch.randn(128, d))
    for _ in range(500):
        optimizer.zero_grad()
        objective(torch.randn(128, d)).posterior.backward()
        optimizer.step()
    covariance = mix @ mix.mT + torch.eye(d)
    z = torch.randn(10_000, d) @ torch.linalg.cholesky(covariance).mT
    error = model.prior.score(50 + z) + z @ torch.linalg.inv(covariance)
    assert (400 * error.square()).mean() < 0.02  # without a coupling 0.08


@pytest.mark.parametrize("family", [fae.FactorablePolynomial, fae.PairwisePolynomial])
def test_a_prior_may_follow_twice_before_the_gradient(family: Any) -> None:
    """As batches that are accumulated do: the gradient of each is that of where the prior was."""
    model = small_model()
    model.prior = family(d, order=4)
    objective = fae.FisherObjective(model, standardize_prior=True)
    batches = torch.randn(2, 8, D)

    def gradients(together: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model.prior.load_state_dict(start)
        objective.zero_grad()
        totals = []
        for x in batches:
            total = objective(x).total
            totals.append(total)
            if not together:
                total.backward()
        if together:
            torch.stack(totals).sum().backward()
        return [p.grad.clone() for p in objective.parameters() if p.grad is not None]

    start = {name: value.clone() for name, value in model.prior.state_dict().items()}
    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_only_training_moves_the_prior() -> None:
    model = small_model()
    for objective in (
        fae.FisherObjective(model),
        fae.FisherObjective(model, standardize_prior=True).eval(),
    ):
        objective(torch.randn(8, D)).total.backward()
        assert (model.prior.location == 0).all()
        assert (model.prior.scale == 1).all()
    fae.FisherObjective(model, samples=2, standardize_prior=True).train()(torch.randn(8, D))
    assert (model.prior.location != 0).all()

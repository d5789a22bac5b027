"""WAE-GAN: its terms by hand, and two players that one backward pass trains."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

import fisherae as fae
from fisherae.networks import mlp

PIXELS, DIM = 8, 2


@pytest.fixture
def x():
    return torch.rand(16, PIXELS)


def wae(posterior="delta", prior=None):
    outputs = 1 if posterior == "delta" else 2
    encoder = mlp.encoder((PIXELS,), DIM, outputs_per_dim=outputs, hidden=(16,))
    decoder = mlp.decoder((PIXELS,), DIM, hidden=(16,))
    return fae.Autoencoder(encoder, decoder, prior or fae.StandardNormal(DIM), posterior=posterior)


@pytest.fixture
def objective():
    return fae.WaeGanObjective(wae(), mlp.discriminator(DIM, hidden=(16,)), weight=3.0)


def at_seed(objective, x, seed=5, **options):
    torch.manual_seed(seed)
    return objective(x, **options)


def from_prior(seed=5, n=16) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(n, DIM)


def test_terms_by_hand(objective, x):
    """With the deterministic encoder the one draw is the prior's."""
    terms = at_seed(objective, x)
    model, D = objective.model, objective.discriminator
    z, real, fake = model.encode(x).mean, torch.ones(16), torch.zeros(16)
    error = (x - model.decoder(z)).square().sum(1).mean()
    torch.testing.assert_close(terms.reconstruction, 0.05 * error)
    torch.testing.assert_close(terms.penalty, 3 * cross_entropy(D(z), real))
    torch.testing.assert_close(
        terms.adversary, cross_entropy(D(from_prior()), real) + cross_entropy(D(z), fake)
    )
    torch.testing.assert_close(terms.total, terms.reconstruction + terms.penalty + terms.adversary)


def test_an_adversary_that_knows_nothing(objective, x):
    """Logits of zero: λ log 2, and 2 log 2."""
    nn.init.zeros_(objective.discriminator[-2].weight)
    nn.init.zeros_(objective.discriminator[-2].bias)
    terms = objective(x)
    torch.testing.assert_close(terms.penalty, 3 * torch.tensor(2.0).log())
    torch.testing.assert_close(terms.adversary, 2 * torch.tensor(2.0).log())


def test_large_logits_stay_finite(objective, x):
    with torch.no_grad():
        objective.discriminator[-2].bias.fill_(-1e4)
    terms = objective(x)
    torch.testing.assert_close(terms.penalty, torch.tensor(3e4), rtol=1e-3, atol=0)
    assert terms.total.isfinite()


def test_per_image_terms_average_to_the_loss(objective, x):
    per_image, mean = at_seed(objective, x, reduce=False), at_seed(objective, x)
    for name, term in mean.by_name().items():
        assert per_image.by_name()[name].shape == (16,)
        torch.testing.assert_close(per_image.by_name()[name].mean(), term)


@pytest.mark.parametrize("posterior", ["delta", "gaussian"])
@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("reconstruction", {"encoder", "decoder"}),
        ("penalty", {"encoder"}),
        ("adversary", {"discriminator"}),
    ],
)
def test_what_each_term_reaches(x, posterior, term, expected):
    objective = fae.WaeGanObjective(wae(posterior), mlp.discriminator(DIM))
    objective(x).by_name()[term].backward()
    model = objective.model
    players = {
        "encoder": model.encoder,
        "decoder": model.decoder,
        "discriminator": objective.discriminator,
    }
    reached = {
        name
        for name, player in players.items()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in player.parameters())
    }
    assert reached == expected


def test_one_backward_pass_gives_each_player_its_own_gradient(objective, x):
    """The gradients of `total` are those of two separate losses, each for its own player."""
    at_seed(objective, x).total.backward()
    model, D = objective.model, objective.discriminator
    z = model.encode(x).mean
    error = 0.05 * (x - model.decoder(z)).square().sum(1).mean()
    ours = error + 3 * cross_entropy(D(z), torch.ones(16))
    players = list(model.parameters())
    for p, expected in zip(players, torch.autograd.grad(ours, players), strict=True):
        torch.testing.assert_close(p.grad, expected)
    theirs = cross_entropy(D(from_prior()), torch.ones(16)) + cross_entropy(
        D(z.detach()), torch.zeros(16)
    )
    players = list(D.parameters())
    for p, expected in zip(players, torch.autograd.grad(theirs, players), strict=True):
        torch.testing.assert_close(p.grad, expected)


def test_one_step_moves_both_players_the_right_way(objective, x):
    """Each player's own loss falls against the other as it was."""
    before = copy.deepcopy(objective)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    old = at_seed(objective, x)
    old.total.backward()
    optimizer.step()
    adversary_moved = fae.WaeGanObjective(before.model, objective.discriminator, weight=3.0)
    model_moved = fae.WaeGanObjective(objective.model, before.discriminator, weight=3.0)
    assert at_seed(adversary_moved, x).adversary < old.adversary
    new = at_seed(model_moved, x)
    assert new.reconstruction + new.penalty < old.reconstruction + old.penalty


def test_training_brings_the_latents_to_the_prior():
    """From latents around 3, to means around 0 (on average: the two players circle)."""
    x = torch.rand(64, PIXELS)
    objective = fae.WaeGanObjective(wae(), mlp.discriminator(DIM, hidden=(32,)))
    with torch.no_grad():
        objective.model.encoder[-1].bias.fill_(3.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=5e-3, betas=(0.5, 0.999))
    means = []
    for _ in range(600):
        optimizer.zero_grad()
        objective(x).total.backward()
        optimizer.step()
        means.append(objective.model.encode(x).mean.detach().mean(0))
    assert means[0].min() > 2
    assert torch.stack(means[300:]).mean(0).abs().max() < 0.3


def test_what_is_refused():
    discriminator = mlp.discriminator(DIM)
    other = wae(prior=fae.FactorablePolynomial(DIM, 4))
    with pytest.raises(fae.InputError, match="StandardNormal prior, got FactorablePolynomial"):
        fae.WaeGanObjective(other, discriminator)
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(fae.InputError, match=f"λ must be positive and finite, got {weight}"):
            fae.WaeGanObjective(wae(), discriminator, weight)

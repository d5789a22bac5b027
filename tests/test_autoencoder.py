"""The auto-encoder: its public face, and what a saved model promises."""

import json
import os
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import fisherae as fae
from fisherae import networks
from fisherae.autoencoder import evaluating
from fisherae.distributions import Bernoulli, Delta, DiagonalGaussian, Gaussian

SHAPE, DIM = (1, 8, 8), 3

NETWORKS = {
    "mlp": lambda outputs: (
        networks.mlp.encoder(SHAPE, DIM, outputs, hidden=(8,), normalization="batch"),
        networks.mlp.decoder(SHAPE, DIM, hidden=(8,)),
    ),
    "small": lambda outputs: (
        networks.small.encoder(SHAPE, DIM, outputs),
        networks.small.decoder(SHAPE, DIM, normalization="batch"),
    ),
}
LIKELIHOODS = {
    "gaussian": lambda: "gaussian",
    "bernoulli": lambda: "bernoulli",
    "fixed": lambda: fae.GaussianLikelihood(0.3),
    "learned": lambda: fae.GaussianLikelihood(0.3, learned=True),
    "channels": lambda: fae.GaussianLikelihood(0.3, learned=True, shape=(SHAPE[0], 1, 1)),
    "pixels": lambda: fae.GaussianLikelihood(0.3, learned=True, shape=SHAPE),
}
PRIORS = {
    "normal": lambda: fae.StandardNormal(DIM),
    "polynomial": lambda: fae.FactorablePolynomial(DIM, 4),
    "confined": lambda: fae.FactorablePolynomial(DIM, 5).fit(torch.randn(50, DIM)),
    "interval": lambda: fae.FactorablePolynomial(DIM, 5, (-3.0, 3.0)),
    "half-lines": lambda: fae.FactorablePolynomial(
        DIM, 3, [(-3.0, None), (None, 3.0), (None, None)]
    ),
    "pairwise": lambda: fae.PairwisePolynomial(DIM, 4),
    "pairwise confined": lambda: fae.PairwisePolynomial(DIM, 4).fit(torch.rand(50, DIM) ** 4),
    "energy": lambda: fae.EnergyPrior(DIM, width=5, depth=3),
}


@pytest.fixture
def x():
    return torch.rand(4, *SHAPE)


def make(network="mlp", likelihood="learned", prior="polynomial", posterior="gaussian"):
    """A model none of whose parameters and statistics is where it started."""
    encoder, decoder = NETWORKS[network](2 if posterior == "gaussian" else 1)
    likelihood, prior = LIKELIHOODS[likelihood](), PRIORS[prior]()
    model = fae.Autoencoder(encoder, decoder, prior, likelihood, posterior)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.reconstruct(torch.rand(16, *SHAPE))  # moves the batch statistics
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    model = make()
    model.save(tmp_path / "model")
    return tmp_path / "model"


def outputs(model, x):
    q, z = model.encode(x), torch.linspace(-1, 1, 5 * DIM, dtype=x.dtype).view(5, DIM)
    p = model.decode(z)
    return (
        *vars(q).values(),
        *vars(p).values(),
        p.log_prob(torch.full_like(p.mean, 0.25)),
        model.reconstruct(x),
        model.prior.log_density(z),
        model.prior.score(z),
        model.prior.support,
    )


# the public face


def test_the_front_page_example():
    encoder, decoder = fae.networks.mnist.encoder(8), fae.networks.mnist.decoder(8)
    model = fae.Autoencoder(encoder, decoder, fae.FactorablePolynomial(dim=8, order=5))
    x = torch.rand(4, 1, 28, 28)
    q = model.encode(x)
    z = q.rsample()
    p = model.decode(z)
    assert model.dim == 8
    assert q.mean.shape == q.std.shape == z.shape == q.score(z).shape == (4, 8)
    assert p.mean.shape == p.sample().shape == x.shape
    assert p.log_prob(x).shape == (4,)
    terms = fae.FisherObjective(model)(x)
    assert terms.total.isfinite()


@pytest.mark.parametrize(
    ("posterior", "q_type"), [("gaussian", DiagonalGaussian), ("delta", Delta)]
)
@pytest.mark.parametrize(
    ("likelihood", "p_type"), [("gaussian", Gaussian), ("bernoulli", Bernoulli)]
)
def test_encode_and_decode(x, posterior, q_type, likelihood, p_type):
    model = make("mlp", likelihood, posterior=posterior)
    q, p = model.encode(x), model.decode(torch.randn(7, DIM))
    assert (type(q), q.mean.shape) == (q_type, (4, DIM))
    assert (type(p), p.mean.shape) == (p_type, (7, *SHAPE))


def test_reconstruction_decodes_the_posterior_mean(x):
    model = make()
    mean, _ = model.encoder(x).split(DIM, dim=1)
    assert torch.equal(model.reconstruct(x), model.decoder(mean))
    assert torch.equal(model(x), model.decoder(mean))


def test_own_modules_and_own_shapes():
    """Any modules do, and the pixels need not be an image."""
    model = fae.Autoencoder(nn.Linear(7, 2 * DIM), nn.Linear(DIM, 7), fae.StandardNormal(DIM))
    assert model.reconstruct(torch.rand(4, 7)).shape == (4, 7)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"encoder", "decoder"}


def test_sizes_that_do_not_match(x):
    encoder, decoder = NETWORKS["mlp"](2)
    model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(DIM + 1))
    with pytest.raises(fae.InputError, match=r"shape \(4, 6\).*4 latent dimensions.*\(4, 8\)"):
        model.encode(x)
    with pytest.raises(fae.InputError, match="z has 3 latent dimensions, the model has 4"):
        model.decode(torch.randn(5, DIM))
    with pytest.raises(fae.InputError, match=r"\(batch, 3\), got \(5, 4\)"):
        model.decode(torch.randn(5, DIM + 1))
    delta = fae.Autoencoder(encoder, decoder, fae.StandardNormal(DIM), posterior="delta")
    with pytest.raises(fae.InputError, match=r"\(4, 6\).*Delta.*\(4, 3\)"):
        delta.encode(x)


# eval mode and samples


def test_evaluating_restores_every_part_to_its_own_mode():
    module = nn.Sequential(nn.Sequential(nn.Dropout(), nn.ReLU()), nn.BatchNorm1d(2), nn.Tanh())
    module[0].eval()  # a frozen part that holds one in training mode
    module[0][1].train()
    modes = [part.training for part in module.modules()]
    assert len(set(modes)) == 2
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == modes
    with pytest.raises(KeyError), evaluating(module):
        raise KeyError
    assert [part.training for part in module.modules()] == modes


@pytest.mark.parametrize("prior", ["normal", "polynomial", "confined", "interval"])
@pytest.mark.parametrize("likelihood", ["learned", "bernoulli"])
def test_samples(prior, likelihood):
    model = make("small", likelihood, prior)
    if prior == "polynomial":
        model.prior.fit(torch.randn(500, DIM).clamp(-2.9, 2.9))
    images = model.sample(6, generator=torch.Generator().manual_seed(3))
    assert images.shape == (6, *SHAPE)
    assert not images.requires_grad
    again = model.sample(6, generator=torch.Generator().manual_seed(3))
    other = model.sample(6, generator=torch.Generator().manual_seed(4))
    assert torch.equal(images, again)
    assert not torch.equal(images, other)


def test_samples_are_decoded_prior_samples():
    """As many as do not fit one batch of the decoder."""
    model = make("mlp", prior="normal")
    z = fae.sample(model.prior, 1100, generator=torch.Generator().manual_seed(3))
    images = model.sample(1100, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(images, model.decoder(z).detach())


def test_sampling_neither_uses_nor_moves_batch_statistics():
    """Of a model in training mode."""
    model = make("small", prior="normal")
    evaluated = model.sample(6, generator=torch.Generator().manual_seed(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    assert torch.equal(model.sample(6, generator=torch.Generator().manual_seed(3)), evaluated)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# save and load


@pytest.mark.parametrize(
    ("network", "likelihood", "prior", "posterior"),
    list(product(NETWORKS, LIKELIHOODS, PRIORS, ["gaussian", "delta"])),
)
def test_a_loaded_model_is_the_saved_one(tmp_path, x, network, likelihood, prior, posterior):
    model = make(network, likelihood, prior, posterior)
    model.save(tmp_path)
    loaded = fae.load(tmp_path)
    assert not loaded.training
    for ours, theirs in zip(outputs(loaded, x), outputs(model, x), strict=True):
        assert torch.equal(ours, theirs)
    assert sum(p.requires_grad for p in loaded.parameters()) == len(list(model.parameters()))
    z = torch.randn(50, DIM).clamp(-2.9, 2.9)  # a support that was given is still one
    assert torch.equal(loaded.prior.fit(z).support, model.prior.fit(z).support)


@pytest.mark.parametrize("data", ["mnist", "celeba"])
def test_the_networks_of_the_paper_come_back(tmp_path, data):
    module = getattr(networks, data)
    encoder, decoder = module.encoder(DIM), module.decoder(DIM)
    model = fae.Autoencoder(encoder, decoder, fae.StandardNormal(DIM)).eval()
    model.save(tmp_path)
    x = torch.rand(2, *encoder[0].size)
    assert torch.equal(fae.load(tmp_path).reconstruct(x), model.reconstruct(x))


def test_float64_comes_back_as_float64(tmp_path, x):
    model = make().double()
    model.save(tmp_path)
    for ours, theirs in zip(
        outputs(fae.load(tmp_path), x.double()), outputs(model, x.double()), strict=True
    ):
        assert torch.equal(ours, theirs)
        assert ours.dtype == torch.float64


def test_two_readable_files(saved):
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors"]
    config = json.loads((saved / "config.json").read_text())
    assert config["encoder"]["network"] == "mlp.encoder"
    assert config["encoder"]["dim"] == DIM
    assert config["prior"]["order"] == 4
    assert config["likelihood"]["learned"] is True
    assert config["posterior"] == "gaussian"


def test_own_modules_are_handed_over(tmp_path):
    def parts():
        return {
            "encoder": nn.Linear(7, 2 * DIM),
            "decoder": nn.Linear(DIM, 7),
            "prior": fae.ExponentialFamily(DIM, torch.square),
        }

    model = fae.Autoencoder(**parts()).eval()
    model.save(tmp_path)
    given = parts()
    for name in list(given):
        rest = {other: part for other, part in given.items() if other != name}
        with pytest.raises(
            fae.InputError, match=rf"the {name} is your own module.*load\(path, {name}=\.\.\.\)"
        ):
            fae.load(tmp_path, **rest)
    x = torch.rand(4, 7)
    assert torch.equal(fae.load(tmp_path, **given).reconstruct(x), model.reconstruct(x))


def test_tied_weights_are_saved(tmp_path):
    class Transposed(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            return z @ self.linear.weight[:DIM]

    def parts():
        encoder = nn.Linear(7, 2 * DIM)
        return {"encoder": encoder, "decoder": Transposed(encoder)}

    model = fae.Autoencoder(**parts(), prior=fae.StandardNormal(DIM))
    model.save(tmp_path)
    loaded = fae.load(tmp_path, **parts())
    assert loaded.encoder.weight is loaded.decoder.linear.weight
    assert torch.equal(loaded.encoder.weight, model.encoder.weight)


def test_saving_again_replaces(saved, x):
    other = make("small", "bernoulli", "normal", "delta")
    other.save(saved)
    assert torch.equal(fae.load(saved).reconstruct(x), other.reconstruct(x))
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors"]


def test_a_save_that_fails_leaves_the_old_model(saved, x, monkeypatch):
    before = fae.load(saved).reconstruct(x)

    def full_disk(_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            make("small").save(saved)
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors"]
    assert torch.equal(fae.load(saved).reconstruct(x), before)


# what load refuses


def test_missing_files(saved, tmp_path):
    with pytest.raises(fae.InputError, match=r"nowhere.config\.json: no such file"):
        fae.load(tmp_path / "nowhere")
    (saved / "model.safetensors").unlink()
    with pytest.raises(fae.InputError, match=r"model\.safetensors: no such file"):
        fae.load(saved)


@pytest.mark.parametrize("text", ["", '{"encoder": {"net', "\x00"])
def test_damaged_json(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(fae.InputError, match=r"config\.json: not a readable JSON file"):
        fae.load(saved)


def edited(saved, *keys, value):
    path = saved / "config.json"
    config = json.loads(path.read_text())
    part = config
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("encoder", "network"), "mlp.encodr", r"network 'mlp\.encodr' is not known.*mlp\.encoder"),
        (("encoder", "latents"), 3, r"mlp\.encoder: .*'latents'"),
        (("decoder", "dim"), -1, r"mlp\.decoder: dim must be a positive integer, got -1"),
        (("decoder",), "mlp", r"decoder must be an object .*, got 'mlp'"),
        (("decoder",), [1], r"decoder must be an object .*, got \[1\]"),
        (("prior", "prior"), "cauchy", r"prior 'cauchy' is not known.*factorable_polynomial"),
        (("prior",), {}, r"prior None is not known.*standard_normal"),
        (("prior", "degree"), 5, r"prior factorable_polynomial: .*'degree'"),
        (("prior", "order"), 1, "order must be an integer of at least 2, got 1"),
        (("prior", "order"), "four", r"order"),
        (("prior", "support"), [[1.0, 0.0]] * 3, "support of dimension 0 is empty"),
        (("likelihood", "likelihood"), "laplace", r"likelihood 'laplace' is not known.*bernoulli"),
        (("likelihood", "scale"), 1.0, r"likelihood gaussian: .*'scale'"),
        (("likelihood", "variance"), -1.0, r"decoder variance must be .* got -1\.0"),
        (("likelihood", "variance"), "big", r"likelihood gaussian: "),
        (("likelihood", "shape"), [0], r"variances must be of sizes ≥ 1, got \[0\]"),
        (("likelihood", "shape"), [3], r"log_variance holds \(\), the model needs \(3,\)"),
        (("likelihood", "shape"), 3, r"likelihood gaussian: "),
    ],
    ids=str,
)
def test_unusable_configuration(saved, keys, value, message):
    edited(saved, *keys, value=value)
    with pytest.raises(fae.InputError, match=rf"(?s)(config\.json|safetensors): .*{message}"):
        fae.load(saved)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_json_that_is_no_configuration(saved, content):
    (saved / "config.json").write_text(content)
    with pytest.raises(fae.InputError, match="not the configuration of an auto-encoder"):
        fae.load(saved)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_no_code_is_executed(saved, tmp_path, dump):
    marker = tmp_path / "executed"
    with (saved / "model.safetensors").open("wb") as file:
        dump(Bomb(marker), file)
    with pytest.raises(fae.InputError, match="not a readable safetensors file"):
        fae.load(saved)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists(), "the bomb is a real one"


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(saved, kept):
    path = saved / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(fae.InputError, match=r"model\.safetensors: not a readable safetensors"):
        fae.load(saved)


def test_weights_of_another_architecture(saved):
    edited(saved, "encoder", "hidden", value=[9])
    with pytest.raises(
        fae.InputError,
        match=r"another architecture: encoder\.2\.bias holds \(8,\), the model needs \(9,\)",
    ):
        fae.load(saved)


def test_weights_too_few_and_too_many(saved):
    path = saved / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors | {"prior.extra": torch.zeros(2)}, path)
    with pytest.raises(fae.InputError, match=r"prior\.extra holds \(2,\), the model needs nothing"):
        fae.load(saved)
    del tensors["prior.support"]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(fae.InputError, match=r"prior\.support holds nothing, .* needs \(3, 2\)"):
        fae.load(saved)


UNCHECKED = """
import json, sys, pathlib, torch, fisherae as fae
path = pathlib.Path(sys.argv[1])
config = json.loads((path / "config.json").read_text())
encoder, decoder = torch.nn.Linear(4, 4), torch.nn.Linear(2, 4)

def edited(**changes):
    (path / "config.json").write_text(json.dumps(config | changes))
    return fae.load(path)

for attempt in (
    lambda: fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), likelihood="laplace"),
    lambda: fae.Autoencoder(encoder, decoder, fae.StandardNormal(2), posterior="dirac"),
    lambda: edited(posterior="dirac"),
    lambda: edited(posterior=[]),
    lambda: edited(likelihood={"likelihood": "gaussian", "variance": "big"}),
    lambda: edited(prior={"prior": "factorable_polynomial", "dim": 3, "order": "four"}),
    lambda: edited(prior={"prior": "factorable_polynomial", "dim": 3, "order": 4, "support": 5}),
    lambda: print(fae.FactorablePolynomial(2, 4, (-3, 3)).support.dtype),
):
    try:
        attempt()
    except fae.InputError as error:
        print(str(error).replace(str(path), "PATH"))
"""


def test_what_the_type_checker_of_the_tests_would_catch_first(saved):
    """In a process of its own, without beartype, as a user meets it."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNCHECKED, str(saved)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[0].startswith("likelihood 'laplace' is not known; choose one of: gaussian, bern")
    assert lines[1].startswith("posterior 'dirac' is not known; choose one of: gaussian, polynomi")
    assert lines[2].startswith("PATH/config.json: posterior 'dirac' is not known")
    assert lines[3].startswith("PATH/config.json: posterior [] is not known")
    assert lines[4].startswith("PATH/config.json: likelihood gaussian: ")
    assert lines[5].startswith("PATH/config.json: prior: order must be an integer of at least 2")
    assert lines[6].startswith("PATH/config.json: prior factorable_polynomial: ")
    assert lines[7] == "torch.float32"

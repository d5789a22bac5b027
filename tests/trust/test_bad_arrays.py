"""Arrays, tensors and numbers that cannot be used: an `InputError` that says which, and why."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fisherae as fae
from fisherae import networks
from fisherae.data.contamination import contaminate
from fisherae.data.corruptions import (
    Blur,
    Contrast,
    GaussianNoise,
    Mask,
    Occlusion,
    SaltAndPepper,
    corruption_levels,
)
from fisherae.data.images import Batches, ImageDataset, random_subset, to_float, to_uint8
from fisherae.evaluation.clustering import kmeans_nmi, tsne
from fisherae.evaluation.extractors import Extractor
from fisherae.evaluation.generation import fid, frechet_distance, generation_scores, kid
from fisherae.evaluation.probe import LinearProbe
from fisherae.evaluation.report import Report
from fisherae.evaluation.robustness import over_runs, robustness
from fisherae.recipes.latent_prior import with_prior

NAN, INF = float("nan"), float("inf")
SHAPE = (1, 4, 4)
TABLE = np.random.default_rng(0).normal(size=(20, 3))
BYTES = torch.zeros(5, *SHAPE, dtype=torch.uint8)
FLOATS = torch.full((5, *SHAPE), 0.5)
CLASSES = torch.tensor([0, 1, 0, 1, 0])
LATENTS = torch.linspace(-2, 2, 40).view(20, 2)
NOISE = [GaussianNoise(0.1)]


def model(prior: Any = None, **options: Any) -> fae.Autoencoder:
    outputs = 1 if options.get("posterior") == "delta" else 2
    encoder = networks.mlp.encoder(SHAPE, 2, outputs, hidden=(4,))
    decoder = networks.mlp.decoder(SHAPE, 2, hidden=(4,))
    return fae.Autoencoder(encoder, decoder, prior or fae.StandardNormal(2), **options)


def estimator(**arguments: Any) -> fae.FisherAutoencoder:
    tiny = {"latent_dim": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
    return fae.FisherAutoencoder(**(tiny | arguments))


def fitted() -> fae.FisherAutoencoder:
    return estimator().fit(TABLE)


def holding(value: float, array: Any = TABLE, at: tuple[int, ...] = (2, 1)) -> Any:
    copy = array.copy() if isinstance(array, np.ndarray) else array.clone()
    copy[at] = value
    return copy


def build(network: str, **arguments: Any) -> nn.Module:
    return networks.build({"network": network, **arguments})


def fit(z: Any, order: int = 4, **options: Any) -> Any:
    return fae.FactorablePolynomial(2, order, **options).fit(z)


pixels = Extractor("pixels", 16, "the pixels themselves", nn.Flatten())
infinite = Extractor("infinite", 16, "", nn.Sequential(nn.Flatten(), nn.Threshold(2, INF)))

CASES: dict[str, tuple[Callable[[], Any], str]] = {
    # the estimator
    "fit: nan": (lambda: estimator().fit(holding(NAN)), "X[2, 1] is nan: give finite numbers"),
    "fit: inf": (lambda: estimator().fit(holding(-INF)), "X[2, 1] is -inf"),
    "fit: too large": (lambda: estimator().fit(holding(1e200)), "smaller than 1e+30"),
    "fit: one row": (lambda: estimator().fit(TABLE[:1]), "minimum of 2 is required"),
    "fit: no rows": (lambda: estimator().fit(TABLE[:0]), "0 sample(s)"),
    "fit: no features": (lambda: estimator().fit(TABLE[:, :0]), "0 feature(s)"),
    "fit: one dimension": (lambda: estimator().fit(TABLE[0]), "Expected 2D array, got 1D array"),
    "fit: three dimensions": (lambda: estimator().fit(TABLE[None]), "dim 3"),
    "fit: words": (lambda: estimator().fit([["a"], ["b"]]), "could not convert string to float"),
    "fit: complex": (lambda: estimator().fit(TABLE + 1j), "Complex data not supported"),
    "fit: latent_dim": (lambda: estimator(latent_dim=0).fit(TABLE), "dim must be a positive int"),
    "fit: latent_dim half": (lambda: estimator(latent_dim=2.5).fit(TABLE), "got 2.5"),
    "fit: posterior order": (
        lambda: estimator(posterior_order=3).fit(TABLE),
        "posterior_order must be an even number, 2 or larger, got 3",
    ),
    "fit: order": (lambda: estimator(order=1).fit(TABLE), "order must be an integer of at least 2"),
    "fit: hidden": (lambda: estimator(hidden=(8, 0)).fit(TABLE), "hidden must be a tuple of pos"),
    "fit: variance": (lambda: estimator(variance=NAN).fit(TABLE), "variance must be a positive"),
    "fit: score_fraction": (lambda: estimator(score_fraction=0.0).fit(TABLE), "score_fraction"),
    "fit: epochs": (lambda: estimator(epochs=0).fit(TABLE), "epochs is 0"),
    "fit: batch_size": (lambda: estimator(batch_size=0).fit(TABLE), "batch_size is 0"),
    "fit: learning_rate": (lambda: estimator(learning_rate=NAN).fit(TABLE), "learning_rate is nan"),
    "fit: clip": (lambda: estimator(clip=-1.0).fit(TABLE), "clip is -1.0"),
    "fit: random_state": (lambda: estimator(random_state=-1).fit(TABLE), "random_state: Seed must"),
    "fit: random word": (lambda: estimator(random_state="x").fit(TABLE), "random_state: 'x'"),
    "transform: nan": (lambda: fitted().transform(holding(NAN)), "X[2, 1] is nan"),
    "transform: features": (lambda: fitted().transform(TABLE[:, :2]), "X has 2 features, but"),
    "inverse: nan": (lambda: fitted().inverse_transform(holding(NAN, TABLE[:, :2])), "Z[2, 1] is"),
    "inverse: width": (lambda: fitted().inverse_transform(TABLE), "z has 3 latent dimensions"),
    "sample: none": (lambda: fitted().sample(0), "n must be"),
    # images
    "images: numpy": (lambda: ImageDataset("x", BYTES.numpy()), "x: images are a ndarray: give a"),
    "images: floats": (lambda: ImageDataset("x", FLOATS), "x: torch.float32 of shape (5, 1, 4, 4)"),
    "images: no channel": (
        lambda: ImageDataset("x", BYTES[:, 0]),
        "give uint8 of shape (N, C, H, ",
    ),
    "images: none": (lambda: ImageDataset("x", BYTES[:0]), "not empty"),
    "labels: a list": (lambda: ImageDataset("x", BYTES, [1] * 5), "x: labels are a list"),
    "labels: one too few": (lambda: ImageDataset("x", BYTES, CLASSES[1:]), "of shape (4,) for 5"),
    "labels: int32": (lambda: ImageDataset("x", BYTES, CLASSES.int()), "labels are torch.int32"),
    "subset: too many": (lambda: ImageDataset("x", BYTES).subset(6, 0), "give a number in 1..5"),
    "subset: none": (lambda: random_subset(5, 0, 0), "a subset of 0 of 5 images"),
    "subset: seed": (lambda: random_subset(5, 2, -1), "seed is -1: give a seed ≥ 0"),
    "batches: float64": (lambda: Batches(FLOATS.double(), 2), "give uint8 or float32"),
    "batches: nan": (lambda: Batches(holding(NAN, FLOATS, (3, 0, 1, 1)), 2), "pixels lie in [nan"),
    "batches: inf": (lambda: Batches(holding(INF, FLOATS, (3, 0, 1, 1)), 2), "[0.5, inf]"),
    "batches: none": (lambda: Batches(BYTES[:0], 2), "not empty"),
    "batches: size": (lambda: Batches(BYTES, 0), "batch_size 0, seed 0: give a batch size ≥ 1"),
    "batches: rank": (lambda: Batches(BYTES, 2, rank=2, world_size=2), "rank 2 of 2"),
    "batches: range": (lambda: Batches(BYTES, 2, (0.0, 255.0)), "value_range is (0.0, 255.0)"),
    "batches: epoch": (lambda: Batches(BYTES, 2).epoch(-1), "give an epoch ≥ 0"),
    "to_float: floats": (lambda: to_float(FLOATS, (0.0, 1.0)), "give uint8 in 0..255"),
    "to_uint8: range": (lambda: to_uint8(FLOATS, (0.0, 2.0)), "give (0, 1) or (-1, 1)"),
    # corruptions
    "noise": (lambda: GaussianNoise(-0.1), "noise variance is -0.1: give a finite number ≥ 0"),
    "noise: inf": (lambda: GaussianNoise(INF), "noise variance is inf"),
    "mask": (lambda: Mask(NAN), "masked fraction is nan: give a number in [0, 1]"),
    "occlusion": (lambda: Occlusion(1.1), "occluded fraction is 1.1"),
    "blur": (lambda: Blur(-1.0), "blur sigma is -1.0"),
    "contrast": (lambda: Contrast(2.0), "contrast reduction is 2.0"),
    "salt": (lambda: SaltAndPepper(0.5, (1.0, 1.0)), "give finite numbers, low < high"),
    "corruption: bytes": (lambda: Mask(0.5)(BYTES), "images are torch.uint8: give floats"),
    "corruption: flat": (lambda: Blur(1.0)(FLOATS.flatten(1)), "give the shape (N, C, H, W)"),
    "corruption: unknown": (lambda: corruption_levels("rain"), "unknown corruption 'rain'"),
    "corruption: no levels": (lambda: corruption_levels("mask", []), "no levels: give at least"),
    "contaminate: share": (lambda: contaminate(BYTES, Mask(0.5), 1.5), "share 1.5, seed 0"),
    "contaminate: floats": (lambda: contaminate(FLOATS, Mask(0.5)), "give uint8 in 0..255"),
    # networks
    "network: unknown": (partial(build, "mlp.encode"), "network 'mlp.encode' is not known"),
    "network: argument": (partial(build, "mnist.encoder", latents=3), "its arguments are: dim"),
    "network: dim": (partial(build, "mnist.encoder", dim=-1), "dim must be a positive integer"),
    "network: dim true": (partial(build, "mnist.encoder", dim=True), "got True"),
    "network: too many": (partial(build, "mnist.encoder", dim=2**31), "at most 2147483647"),
    "network: shape": (partial(build, "mlp.encoder", shape=[8, 8], dim=2), "(features,), got [8"),
    "network: sides": (partial(build, "small.encoder", shape=[1, 8, 9], dim=2), "divisible by 4"),
    "input: size": (lambda: model().encode(torch.zeros(2, 1, 4, 5)), "got (2, 1, 4, 5): reshape"),
    "input: bytes": (lambda: model().encoder(BYTES), "computes in torch.float32, got torch.uint8"),
    "input: float64": (lambda: model().encode(FLOATS.double()), "got torch.float64: convert the"),
    "input: float16": (lambda: model().decode(LATENTS.half()), "got torch.float16: convert the"),
    "input: latents": (lambda: model().decode(torch.zeros(2, 3)), "z has 3 latent dimensions"),
    "encoder and prior": (
        lambda: model(fae.StandardNormal(3)).encode(FLOATS),
        "(the prior's) need",
    ),
    # priors
    "prior: dim": (lambda: fae.StandardNormal(0), "prior: dim must be a positive integer, got 0"),
    "prior: dim true": (lambda: fae.StandardNormal(True), "got True"),
    "prior: huge": (lambda: fae.StandardNormal(2**31), "at most 2147483647 is possible"),
    "prior: order": (
        lambda: fae.FactorablePolynomial(2, 1),
        "order must be an integer of at least",
    ),
    "prior: components": (lambda: fae.GaussianMixture(2, 0), "components must be a positive"),
    "support: empty": (lambda: fae.FactorablePolynomial(1, 2, (1.0, 1.0)), "is empty: [1.0, 1.0]"),
    "support: nan": (lambda: fae.FactorablePolynomial(1, 2, (NAN, 1.0)), "is empty: [nan, 1.0]"),
    "support: too few": (
        lambda: fae.FactorablePolynomial(3, 2, [(0.0, 1.0)] * 2),
        "one interval (lower, upper) or 3 of them",
    ),
    "prior: fit nan": (
        lambda: fit(holding(NAN, LATENTS)),
        "z[2, 1] is nan: samples to fit to must",
    ),
    "prior: fit inf": (lambda: fit(holding(INF, LATENTS)), "z[2, 1] is inf"),
    "prior: fit none": (lambda: fit(LATENTS[:0]), "no samples to fit to"),
    "prior: fit few": (lambda: fit(LATENTS[:4]), "4 samples cannot determine 4 parameters"),
    "prior: fit constant": (lambda: fit(torch.ones(9, 2)), "latent dimension 0 is constant"),
    "prior: fit two values": (lambda: fit(LATENTS.sign()), "too few different values"),
    "prior: fit outside": (lambda: fit(LATENTS, support=(0.0, 9.0)), "outside the support"),
    "prior: fit width": (lambda: fit(torch.rand(9, 3)), "z has 3 latent dimensions where"),
    "prior: confine": (lambda: fae.FactorablePolynomial(2, 4).confine(LATENTS[:0]), "no samples"),
    "prior: eta": (lambda: fae.FactorablePolynomial(2, 4).set_eta(torch.zeros(2, 3)), "eta must"),
    "mixture: fit few": (lambda: fae.GaussianMixture(2).fit(LATENTS[:9]), "cannot determine 10"),
    "family: fit dependent": (
        lambda: fae.ExponentialFamily(2, lambda z: torch.cat([z, 2 * z], -1)).fit(LATENTS),
        "20 samples determine only 2 of the 4 natural parameters",
    ),
    "pairwise: odd": (lambda: fae.PairwisePolynomial(2, 5), "must be even, got 5"),
    "pairwise: pairs": (
        lambda: fae.PairwisePolynomial(2).set_eta(torch.zeros(2, 4), torch.ones(2, 2)),
        "zeros on the diagonal",
    ),
    "pairwise: fit few": (
        lambda: fae.PairwisePolynomial(2).fit(LATENTS[:3]),
        "3 samples determine only 6 of the 9 natural parameters",
    ),
    "energy: width": (lambda: fae.EnergyPrior(2, width=0), "width must be a positive integer"),
    "energy: fit few": (lambda: fae.EnergyPrior(2).fit(LATENTS[:9]), "9 samples cannot determine"),
    "energy: fit dependent": (
        lambda: fae.EnergyPrior(2).fit(LATENTS[:, :1].repeat(2, 2)),
        "covariance of the samples is singular",
    ),
    "prior: kind": (lambda: with_prior(model(), "best", LATENTS), "unknown kind of prior 'best'"),
    "prior: refit nan": (lambda: with_prior(model(), "refit", LATENTS * NAN), "z[0, 0] is nan"),
    # objectives
    "fisher: posterior": (lambda: fae.FisherObjective(model(posterior="delta")), "got Delta"),
    "fisher: decoder": (
        lambda: fae.FisherObjective(model(likelihood="bernoulli")),
        "BernoulliLikelihood has no Hyvärinen score",
    ),
    "fisher: samples": (
        lambda: fae.FisherObjective(model(), samples=0),
        "samples must be a whole number, at least 1, got 0",
    ),
    "fisher: no images": (lambda: fae.FisherObjective(model())(FLOATS[:0]), "no images"),
    "fisher: part of no images": (
        lambda: fae.FisherObjective(model(), score_fraction=0.5)(FLOATS[:0]),
        "no images",
    ),
    "fisher: noise": (lambda: fae.FisherObjective(model(), noise=-1.0), "variance must be"),
    "fisher: fraction": (lambda: fae.FisherObjective(model(), score_fraction=NAN), "got nan"),
    "fisher: shape": (lambda: fae.FisherObjective(model())(torch.rand(3, 1, 4, 5)), "got (3, 1, 4"),
    "fisher: float64": (lambda: fae.FisherObjective(model())(FLOATS.double()), "got torch.float64"),
    "elbo: prior": (lambda: fae.ElboObjective(model(fae.GaussianMixture(2))), "analytic KL, got"),
    "elbo: β": (lambda: fae.ElboObjective(model(), beta=NAN), "β must be positive and finite, got"),
    "denoising: noise": (
        lambda: fae.DenoisingObjective(model(posterior="delta"), NAN),
        "finite number ≥ 0, got nan",
    ),
    "contractive: encoder": (
        lambda: fae.ContractiveObjective(model()),
        "deterministic encoder, posterior='delta', got DiagonalGaussian",
    ),
    "variances: shape": (
        lambda: fae.GaussianLikelihood(shape=(3, 1, 1))(FLOATS),
        "decoder variances of shape (3, 1, 1) for images of shape",
    ),
    "wae: prior": (
        lambda: fae.WaeGanObjective(model(fae.GaussianMixture(2)), nn.Identity()),
        "WAE-GAN draws from a StandardNormal prior, got GaussianMixture",
    ),
    "wae: weight": (lambda: fae.WaeGanObjective(model(), nn.Identity(), NAN), "must be positive"),
    "wae-mmd: weight": (lambda: fae.WaeMmdObjective(model(), math.inf), "positive and finite, got"),
    # samplers
    "sampler: none": (lambda: fae.sample(fae.StandardNormal(2), 0), "n must be"),
    "sampler: unknown": (lambda: fae.sample(fae.StandardNormal(2), 3, "magic"), "'magic'"),
    "sampler: start": (
        lambda: fae.sample(fae.StandardNormal(2), 3, "mala", start=LATENTS),
        "start must hold points of shape (3, 2), got shape (20, 2)",
    ),
    "sampler: start nan": (
        lambda: fae.sample(fae.StandardNormal(2), 1, "mala", start=torch.tensor([[0.0, NAN]])),
        "start[0, 1] is nan",
    ),
    "prior: eta nan": (
        lambda: fae.FactorablePolynomial(1, 2).set_eta(torch.tensor([[NAN, -1.0]])),
        "eta must be finite, got [[nan, -1.0]]",
    ),
    "sampler: option": (lambda: fae.sample(fae.StandardNormal(2), 3, "mala", size=1), "'size'"),
    "sampler: step": (lambda: fae.sample(fae.StandardNormal(2), 3, "ula", step_size=NAN), "step_s"),
    "sampler: half a step": (lambda: fae.sample(fae.StandardNormal(2), 3, "ula", steps=2.5), "2.5"),
    # evaluation
    "robustness: nan": (lambda: robustness(model(), FLOATS * NAN, NOISE), "pixels lie in [nan"),
    "robustness: range": (lambda: robustness(model(), FLOATS * 3, NOISE), "outside value_range"),
    "robustness: none": (lambda: robustness(model(), FLOATS[:0], NOISE), "no images to evaluate"),
    "robustness: labels": (
        lambda: robustness(model(), FLOATS, NOISE, CLASSES[1:]),
        "4 labels for 5 images: give one label per image",
    ),
    "robustness: maps": (
        lambda: robustness(model(), FLOATS, NOISE, CLASSES, maps=[]),
        "0 maps for 1 levels: give one each",
    ),
    "robustness: diverged": (
        lambda: robustness(model().requires_grad_(False).apply(broken), FLOATS, NOISE, CLASSES),
        "not finite: the model has diverged",
    ),
    "runs: none": (lambda: over_runs([], "mse"), "0 runs: give at least one"),
    "clusters: nan": (lambda: kmeans_nmi(LATENTS[:5] * NAN, CLASSES), "latents of 5 of 5 images"),
    "map: one image": (lambda: tsne(LATENTS[:1]), "1 images make no map: give at least two"),
    "map: inf": (lambda: tsne(holding(INF, LATENTS)), "latents of 1 of 20 images are not finite"),
    "probe: one class": (lambda: LinearProbe(LATENTS[:5], CLASSES * 0), "fewer than two classes"),
    "probe: nan": (lambda: LinearProbe(LATENTS[:5] * NAN, CLASSES), "are not finite"),
    "features: range": (lambda: pixels(FLOATS * 3), "pixels lie in [1.5, 1.5]: scale or clip"),
    "features: inf": (lambda: infinite(FLOATS), "must be (5, 16), and finite"),
    "fid: one image": (lambda: fid(LATENTS[:1], LATENTS), "at least 2 images in each"),
    "fid: widths": (lambda: fid(LATENTS, LATENTS[:, :1]), "with the same dim"),
    "frechet": (lambda: frechet_distance(*[torch.eye(2)] * 4), "give (dim,) and (dim, dim)"),
    "kid: three images": (lambda: kid(LATENTS[:3], LATENTS), "at least 4 images in each"),
    "kid: subsets": (lambda: kid(LATENTS, LATENTS, subsets=0), "subsets 0, subset_size 1000"),
    "scores: few": (lambda: generation_scores(FLOATS, FLOATS, pixels), "at least 4 and 8"),
    "scores: shapes": (
        lambda: generation_scores(FLOATS, FLOATS[..., :3], pixels),
        "generated images have shape (1, 4, 4), real ones (1, 4, 3)",
    ),
    "report: row": (
        lambda: Report("x").table(["a", "b"], [[1.0]]),
        "row 0 has 1 cells, the header",
    ),
}


def broken(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.fill_(NAN)


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str) -> None:
    act, says = CASES[case]
    with pytest.raises(fae.InputError) as error:
        act()
    message = str(error.value)
    assert says in message
    assert len(message.splitlines()) <= 4

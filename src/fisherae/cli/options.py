"""What each command can be told; the docstring of a field is its `--help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from fisherae.data.config import CorruptionName
from fisherae.recipes.latent_prior import PriorKind
from fisherae.recipes.named import Preset
from fisherae.studies.config import BudgetName

__all__ = ["Attack", "Compare", "Demo", "Evaluate", "ReportPage", "Reproduce", "Run", "Sample"]


@dataclass(frozen=True)
class Demo:
    """Trains Fisher AE, VAE and WAE-GAN on scikit-learn's 8x8 digits, and writes one HTML report:
    training curves, reconstructions clean and noisy, samples, error against noise variance."""

    out: Path = Path("demo")
    """Directory of the report and of the three runs; an earlier demo there is replaced."""
    seed: int = 0
    """Seed of everything."""
    epochs: int | None = None
    """Passes over the 1,437 training images. None: what the recipes say."""


@dataclass(frozen=True)
class Sample:
    """Draws from a run's prior, decodes, and writes samples.png, samples.svg and samples.npy."""

    run: tyro.conf.Positional[Path]
    """Run directory of a finished training."""
    n: int = 64
    """How many images."""
    prior: PriorKind = "refit"
    """refit: a polynomial prior fitted anew, in closed form, to the aggregated posterior; mixture:
    a mixture of ten Gaussians fitted to it, mostly nearest to the images; pairwise: a polynomial
    with products of two latents; energy: sufficient statistics learned from it (half a minute);
    trained: as training left it."""
    method: Literal["auto", "exact", "svgd", "svgd-per-dim", "ula", "mala"] = "auto"
    """How the prior is sampled; auto is exact where that is possible. svgd is the paper's."""
    seed: int = 0
    """Seed of the samples."""
    out: Path | None = None
    """Directory of the files. None: the run directory."""


@dataclass(frozen=True)
class Evaluate:
    """Reconstructs corrupted test images and compares with the clean ones (BCE, MSE; NMI of
    k-means and accuracy of a linear probe on the latents); prints a table and writes
    robustness-CORRUPTION.json, .csv, .png."""

    run: tyro.conf.Positional[Path]
    """Run directory of a finished training."""
    corruption: CorruptionName | Literal["suite"] = "noise"
    """noise: Gaussian, levels are variances; mask: fractions of components set to 0;
    salt-and-pepper: fractions set to the ends of the range; occlusion: shares of the area under a
    square; blur: standard deviations in pixels; contrast: reductions, 1 leaves none; suite: fifteen
    of them, five severities each. What each does, and its unit: docs/robustness.md."""
    levels: tuple[float, ...] | None = None
    """Levels of the corruption. None: five standard ones."""
    images: int | None = None
    """Use so many test images, a random subset. None: all."""
    data: str | None = None
    """Other data than the run's: a name or a folder."""
    refine: bool = False
    """Search on from the encoder's latent, with decoder and refitted prior, for the one that
    explains the image best: less error under noise, for the time of many decoded images for each
    (those of the probe too). Writes robustness-CORRUPTION-refined.*."""
    seed: int = 0
    """Seed of the corruption and of k-means."""


@dataclass(frozen=True)
class Attack:
    """Perturbs each test image within a radius so that its latent moves as far as possible, by
    projected gradient ascent; prints what that does to the latents and reconstructions, and writes
    attack-NORM-TARGET.json, .csv, .png."""

    run: tyro.conf.Positional[Path]
    """Run directory of a finished training."""
    norm: Literal["l2", "linf"] = "l2"
    """What the radius is of: l2, the root of the sum of squares over an image; linf, the largest
    change of a component."""
    target: Literal["latent", "reconstruction"] = "latent"
    """What is moved: the posterior mean, or the reconstruction from the clean image."""
    radii: tuple[float, ...] | None = None
    """Radii, in units of the pixels. None: 0 and four from 0.025 to 0.2 of the range for each
    component."""
    steps: int = 100
    """Gradient steps of each restart."""
    restarts: int = 2
    """Random starts, of which the best counts."""
    images: int | None = None
    """Use so many test images, a random subset. None: all."""
    seed: int = 0
    """Seed of the starts and of k-means."""


@dataclass(frozen=True)
class Compare:
    """Measures any runs on the same data alike (error, clusters and linear probe under noise and
    masking; samples, FID and KID) and writes report.html with every figure and table, beside them
    as CSV, PNG and SVG. Runs that differ by their seed alone are one model with error bands."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories of finished trainings."""
    out: Path = Path("compare")
    """Directory of the report and the files."""
    images: int | None = None
    """Measure so many test images, a random subset. None: all."""
    samples: int = 2048
    """Samples for FID and KID; 0: leave them out."""
    extractor: str | None = None
    """Features of FID and KID: DATA-cnn (a classifier trained for it, of data with labels),
    random-cnn, or inception (needs the extra fisherae[inception]). None: DATA-cnn with labels,
    random-cnn without."""
    suite: bool = False
    """Measure also under fifteen corruptions at five severities, and give each model one score, the
    mean corruption error relative to the first model named."""
    priors: tuple[Literal["pairwise", "energy"], ...] = ()
    """Priors to draw from beside the refitted one, the mixture and the trained one."""
    seed: int = 0
    """Seed of all measurements."""


@dataclass(frozen=True)
class ReportPage:
    """Writes one HTML page of one or more runs on the same data: error under noise and masking,
    reconstructions, samples, training curves, versions. Sends nothing, needs no other file."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories of finished trainings."""
    out: Path | None = None
    """The page. None: report.html in the directory of the first run."""
    images: int | None = None
    """Measure so many test images, a random subset. None: all."""
    seed: int = 0
    """Seed of all measurements."""


@dataclass(frozen=True)
class Reproduce:
    """Trains what the paper's figures and tables compare, measures it, and writes one report for
    each data set, with every figure as PNG, SVG and CSV. Stopped and started again, it goes on
    where it was cut off; nothing is trained or measured twice.

    smoke takes seconds a model, only to see that everything runs; cpu up to an hour a model and
    seed on two cores, with fewer images and epochs; paper is the paper's own, for a GPU."""

    items: tyro.conf.Positional[tuple[str, ...]]
    """figure-1 ... figure-10, table-1; beyond the paper mnist-nmi, mnist-mask-nmi, mnist-probe,
    mnist-fid, mnist-samples; mnist or celeba for all of a data set; all."""
    budget: BudgetName = "smoke"
    """How much is trained."""
    preset: Literal["default", "paper", "both"] = "both"
    """default: recipes that train soundly; paper: the paper's values to the letter."""
    seeds: tuple[int, ...] | None = None
    """One training of every model for each. None: those of the budget."""
    runs: Path | None = None
    """Where the runs are kept. None: runs/reproduce/BUDGET."""
    out: Path | None = None
    """Directory of the reports. None: reproduce/BUDGET."""
    extractor: Literal["random-cnn", "inception"] | None = None
    """Features of CelebA's FID. None: inception with the paper budget, random-cnn with others."""


@dataclass(frozen=True)
class Run:
    """Where a run goes, and whether it goes on."""

    preset: Preset = "default"
    """default: trains soundly; paper: the paper's values to the letter."""
    out: Path | None = None
    """Run directory. None: runs/RECIPE, with the paper's preset runs/RECIPE-paper."""
    resume: bool = False
    """Continue the run in that directory, from its newest checkpoint and with its recipe."""

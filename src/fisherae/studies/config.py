"""What the paper's figures and tables show, and at what expense they are reproduced."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fisherae.errors import InputError
from fisherae.recipes.config import Recipe
from fisherae.recipes.named import recipe
from fisherae.training.config import SEEDS

__all__ = ["BUDGETS", "DATA", "ITEMS", "Budget", "BudgetName", "Item", "budgeted", "items_of"]

BudgetName = Literal["smoke", "cpu", "paper"]


@dataclass(frozen=True)
class Budget:
    """The expense of one data set's study: the code is the same at each.

    Attributes:
        epochs: of every training; learning-rate schedules are shortened in proportion.
        images: of training; None: all.
        seeds: a training of every model for each.
        test_images: measured; None: all.
        map_images: of them, shown to t-SNE, which takes longest.
        samples: drawn for FID and KID.
        noise: variances of the Gaussian noise; None: the standard ones.
        svgd_steps: the paper's 15,000, or fewer.
        precision: of the trainings.
        conclusive: whether so much training tells anything about the paper's claims.
        batch_size: None: the recipe's.
        extractor: of the features of FID and KID.
    """

    epochs: int
    images: int | None
    seeds: tuple[int, ...]
    test_images: int | None
    map_images: int
    samples: int
    svgd_steps: int
    extractor: str
    precision: Literal["fp32", "bf16"] = "fp32"
    conclusive: bool = True
    batch_size: int | None = None
    noise: tuple[float, ...] | None = None

    def in_words(self) -> str:
        """What is trained.

        Example:
            >>> BUDGETS["cpu"]["mnist"].in_words()
            '15,000 images, 8 epochs'
        """
        images = "All images" if self.images is None else f"{self.images:,} images"
        much = "" if self.conclusive else ", too little to tell anything"
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{images}, {epochs}{much}"

    def seeds_in_words(self) -> str:
        """Which trainings of every model there are.

        Example:
            >>> BUDGETS["cpu"]["mnist"].seeds_in_words(), BUDGETS["cpu"]["celeba"].seeds_in_words()
            ('seeds 0, 1, 2', 'seed 0')
        """
        return f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"

    def means_in_words(self) -> str:
        """The seeds, and what stands in a table of them.

        Example:
            >>> BUDGETS["cpu"]["mnist"].means_in_words(), BUDGETS["cpu"]["celeba"].means_in_words()
            ('seeds 0, 1, 2; means ± standard deviations over them', 'seed 0 only')
        """
        several = "; means ± standard deviations over them" if len(self.seeds) > 1 else " only"
        return self.seeds_in_words() + several

    def seeded(self, seeds: Sequence[int] | None) -> "Budget":
        """The same with other seeds; None: with its own.

        Raises:
            InputError: if there is none, one is no seed, or one stands twice.
        """
        if seeds is None:
            return self
        if not seeds or len(set(seeds)) < len(seeds) or any(seed not in SEEDS for seed in seeds):
            raise InputError(
                f"seeds {list(seeds)}: give at least one, each once, all ≥ 0 and < 2³²"
            )
        return dataclasses.replace(self, seeds=tuple(seeds))


SMOKE = Budget(
    epochs=1,
    images=32,
    seeds=(0, 1),
    test_images=40,
    map_images=40,
    samples=40,
    svgd_steps=50,
    extractor="random-cnn",
    conclusive=False,
    batch_size=16,
)
PAPER = Budget(
    epochs=100,
    images=None,
    seeds=(0, 1, 2),
    test_images=None,
    map_images=10_000,
    samples=10_000,
    svgd_steps=15_000,
    extractor="mnist-cnn",
)
# Pixels in [−1, 1] bear four times the variance.
CELEBA_NOISE = (0.0, 0.2, 0.5, 1.0, 2.0)
BUDGETS: dict[BudgetName, dict[str, Budget]] = {
    "smoke": {
        "digits": SMOKE,
        "mnist": SMOKE,
        "celeba": dataclasses.replace(
            SMOKE,
            images=16,
            seeds=(0,),
            test_images=16,
            samples=16,
            batch_size=8,
            noise=CELEBA_NOISE,
        ),
    },
    "cpu": {
        "digits": dataclasses.replace(PAPER, samples=2_048, extractor="digits-cnn"),
        "mnist": dataclasses.replace(PAPER, epochs=8, images=15_000, samples=2_048),
        "celeba": dataclasses.replace(
            PAPER,
            epochs=1,
            images=30_000,
            seeds=(0,),
            test_images=2_048,  # as few as FID allows: a pass over all takes minutes
            samples=2_048,
            extractor="random-cnn",
            precision="bf16",
            conclusive=False,
            noise=CELEBA_NOISE,
        ),
    },
    "paper": {
        "digits": dataclasses.replace(PAPER, extractor="digits-cnn"),
        "mnist": PAPER,
        "celeba": dataclasses.replace(PAPER, extractor="inception", noise=CELEBA_NOISE),
    },
}
"""The expense by name of the budget and of the data: seconds; under an hour per model and seed on
two cores; the paper's own. The paper has no digits."""


@dataclass(frozen=True)
class Item:
    """A figure or table of the paper.

    Attributes:
        data: mnist or celeba.
        title: what it shows.
        kind: how it is drawn: error curves, panels of images, t-SNE maps, FID, or samples of every
            prior.
        corruption: which, for curves and panels.
        measure: of curves.
        level: at which panels show noisy or masked images.
        samples: whether panels show random samples too.
    """

    data: str
    title: str
    kind: Literal["curves", "panels", "maps", "table", "priors"]
    corruption: Literal["noise", "mask"] = "noise"
    measure: Literal["bce", "mse", "nmi", "nmi_tsne", "probe"] = "bce"
    level: float = 0.0
    samples: bool = False

    @property
    def needs_classes(self) -> bool:
        """Whether it shows how the latents tell the classes."""
        return self.kind == "maps" or self.measure in ("nmi", "nmi_tsne", "probe")


ITEMS: dict[str, Item] = {
    "figure-1": Item("mnist", "BCE against noise variance", "curves"),
    "figure-2": Item(
        "mnist",
        "Noisy reconstructions, reconstructions, samples",
        "panels",
        level=0.2,
        samples=True,
    ),
    "figure-3": Item("mnist", "Clustering against noise variance", "curves", measure="nmi_tsne"),
    "figure-4": Item("mnist", "t-SNE maps of the latents", "maps"),
    "figure-5": Item("celeba", "MSE against noise variance", "curves", measure="mse"),
    "figure-6": Item(
        "celeba",
        "Noisy reconstructions, reconstructions, samples",
        "panels",
        level=2.0,
        samples=True,
    ),
    "table-1": Item("celeba", "FID of the generative models", "table"),
    "figure-7": Item("mnist", "BCE against masked fraction", "curves", "mask"),
    "figure-8": Item("mnist", "Masked reconstructions", "panels", "mask", level=0.8),
    "figure-9": Item("celeba", "MSE against masked fraction", "curves", "mask", "mse"),
    "figure-10": Item("celeba", "Masked reconstructions", "panels", "mask", level=0.8),
    "mnist-nmi": Item("mnist", "Clusters of the latents themselves", "curves", measure="nmi"),
    "mnist-mask-nmi": Item("mnist", "Clusters under masking", "curves", "mask", "nmi"),
    "mnist-probe": Item("mnist", "Linear probe against noise variance", "curves", measure="probe"),
    "mnist-fid": Item("mnist", "FID and KID of each prior", "table"),
    "mnist-samples": Item("mnist", "Samples of each prior", "priors"),
}
"""Every figure and table of the paper's experiments by name, and what the paper left out."""

DATA = tuple(dict.fromkeys(item.data for item in ITEMS.values()))


def items_of(names: tuple[str, ...]) -> list[str]:
    """The items of these names in the paper's order; `mnist` and `celeba` name all of a data set,
    `all` every one.

    Raises:
        InputError: if there is no such item.

    Example:
        >>> items_of(("figure-7", "figure-1"))
        ['figure-1', 'figure-7']
    """
    known = (*ITEMS, *DATA, "all")
    if not names:
        raise InputError(f"no item: name one or more of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise InputError(f"unknown item {name!r}; known: {', '.join(known)}")
    return [name for name, item in ITEMS.items() if {name, item.data, "all"} & set(names)]


def budgeted(name: str, preset: Literal["default", "paper"], budget: Budget, seed: int) -> Recipe:
    """A recipe at the expense of a budget.

    Example:
        >>> cheap = budgeted("mnist-wae-gan", "default", BUDGETS["cpu"]["mnist"], seed=1)
        >>> cheap.data.limit, cheap.training.epochs, cheap.training.schedule
        (15000, 8, ((2, 0.5), (4, 0.1)))
    """
    chosen = recipe(name, preset)
    training = dataclasses.replace(
        chosen.training,
        epochs=budget.epochs,
        schedule=_shortened(chosen.training.schedule, budget.epochs / chosen.training.epochs),
        seed=seed,
        precision=budget.precision,
        batch_size=budget.batch_size or chosen.training.batch_size,
    )
    data = dataclasses.replace(chosen.data, limit=budget.images)
    return dataclasses.replace(chosen, data=data, training=training)


def _shortened(
    schedule: tuple[tuple[int, float], ...], share: float
) -> tuple[tuple[int, float], ...]:
    """Milestones at the same share of the training; of those that coincide, the last one's."""
    milestones = {round(epoch * share): factor for epoch, factor in schedule}
    return tuple((epoch, factor) for epoch, factor in milestones.items() if epoch > 0)

"""What sampling costs: exact against SVGD, SVGD against NumPy and Pyro, and its memory."""

import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import fisherae as fae
from benchmarks.table import Row, race, seconds_in
from fisherae.samplers import SVGD, InverseCDF
from fisherae.samplers.inverse_cdf import _search_grid

__all__ = ["exact", "particles", "pyro", "svgd"]

DIM = 64
PAPER_STEPS = 15_000
ETA = (0.0, 1.0, 0.0, -0.25)


def prior() -> fae.FactorablePolynomial:
    """Bimodal in each of 64 dimensions."""
    chosen = fae.FactorablePolynomial(DIM, order=4)
    chosen.set_eta(torch.tensor([ETA] * DIM))
    return chosen


def stepper(n: int, per_dim: bool = False) -> Callable[[], object]:
    """An iteration of our SVGD."""
    sampler = SVGD(prior(), per_dim=per_dim)
    state = sampler.init(torch.randn(n, DIM, generator=torch.Generator().manual_seed(0)))

    def once() -> None:
        nonlocal state
        state = sampler.step(state)

    return once


class NumpySVGD:
    """SVGD as the paper used it: in NumPy, a loop over the coordinates, AdaGrad with momentum.

    After Liu and Wang (2016), https://arxiv.org/abs/1608.04471.
    """

    def __init__(self, n: int):
        self.z = np.random.default_rng(0).standard_normal((n, DIM))
        self.memory: np.ndarray | None = None

    def __call__(self) -> None:
        phi = self.direction()
        square = phi**2
        self.memory = square if self.memory is None else 0.9 * self.memory + 0.1 * square
        self.z = self.z + 1e-3 * phi / (1e-6 + np.sqrt(self.memory))

    def direction(self) -> np.ndarray:
        from scipy.spatial.distance import pdist, squareform

        squares = squareform(pdist(self.z)) ** 2
        h = np.sqrt(0.5 * np.median(squares) / np.log(len(self.z) + 1))
        kernel = np.exp(-squares / h**2 / 2)
        repulsion, sums = -kernel @ self.z, kernel.sum(1)
        for i in range(DIM):
            repulsion[:, i] += self.z[:, i] * sums
        direction: np.ndarray = (kernel @ self.score() + repulsion / h**2) / len(self.z)
        return direction

    def score(self) -> np.ndarray:
        total = np.zeros_like(self.z)
        for i in range(DIM):
            for k, eta in enumerate(ETA, start=1):
                total[:, i] += k * eta * self.z[:, i] ** (k - 1)
        return total


def exact() -> list[Row]:
    """10,000 exact samples against the paper's SVGD for 100."""
    ours, loop, table = prior(), NumpySVGD(100), InverseCDF(prior())
    seconds = race(
        {
            "exact": lambda: fae.sample(ours, 10_000),
            "search": lambda: _search_grid(ours),
            "table": lambda: InverseCDF(ours),
            "draw": lambda: table.draw(10_000),
            "loop": loop,
        },
        rounds=9,
    )
    return [
        Row(
            "10,000 exact samples / 100 of the paper's SVGD",
            seconds["exact"],
            PAPER_STEPS * seconds["loop"],
            "s",
            1e-3,
            f"{PAPER_STEPS:,} times the time of an iteration of a NumPy loop; "
            f"looking for the mass {seconds['search']:.2g} s, its table "
            f"{seconds['table'] - seconds['search']:.2g} s, 640,000 samples from it "
            f"{seconds['draw']:.2g} s",
        )
    ]


def svgd() -> list[Row]:
    """An iteration of our SVGD against one of a NumPy loop, each among many like it."""
    rows = []
    for n, target, rounds, calls in ((100, 1 / 5, 15, 200), (1_000, 1 / 10, 7, 20)):
        runners: dict[str, Callable[[], object]]
        runners = {"ours": stepper(n), "loop": NumpySVGD(n), "floor": _bare(n)}
        seconds = race(runners, rounds, calls)
        what = f"SVGD iteration / NumPy loop's, {n:,} particles"
        products = seconds_in("bmm", runners["ours"], calls)
        note = (
            f"products, median and exponentials alone {seconds['floor'] / seconds['loop']:.2g} "
            f"of the loop's; the products within ours {products / seconds['loop']:.2g}"
        )
        rows.append(Row(what, seconds["ours"], seconds["loop"], "s", target, note))
    return rows


def _bare(n: int) -> Callable[[], object]:
    """What no SVGD iteration is without: three matrix products, a median, n² / 2 exponentials."""
    z = torch.randn(n, DIM, generator=torch.Generator().manual_seed(0))
    pairs, some = torch.pdist(z), torch.pdist(z[:256]).numpy()

    def once() -> None:
        kernel = z @ z.mT
        torch.exp(-pairs)
        np.partition(some, len(some) // 2)
        kernel @ z
        kernel @ z

    return once


def pyro() -> list[Row]:
    """An iteration of our SVGD against Pyro's, which have one kernel per coordinate, and one."""
    rows = []
    for mode, per_dim in (("multivariate", False), ("univariate", True)):
        n = 1_000 if mode == "multivariate" else 300
        seconds = race({"ours": stepper(n, per_dim), "Pyro": _pyro_stepper(n, mode)}, rounds=5)
        what = f"SVGD iteration / Pyro's, {mode}, {n:,} particles"
        rows.append(Row(what, seconds["ours"], seconds["Pyro"], "s", 1 / 3))
    return rows


def _pyro_stepper(n: int, mode: str) -> Callable[[], object]:
    import pyro as ppl
    from pyro.distributions import Normal
    from pyro.infer import SVGD as PyroSVGD
    from pyro.infer import RBFSteinKernel

    ppl.clear_param_store()

    def model() -> Tensor:
        z: Tensor = ppl.sample("z", Normal(torch.zeros(DIM), 1.0).to_event(1))
        # The base is N(0, I): what is added makes it the polynomial prior.
        ppl.factor("prior", (z**2 - z**4 / 4 + z**2 / 2).sum(-1))
        return z

    inference = PyroSVGD(
        model, RBFSteinKernel(), ppl.optim.Adam({"lr": 1e-3}), n, max_plate_nesting=0, mode=mode
    )
    once: Callable[[], object] = inference.step
    return once


def particles() -> list[Row]:
    """The memory that SVGD takes for 10,000 particles: the peak of this process, torch included."""
    since = time.process_time()
    fae.sample(fae.StandardNormal(DIM), 10_000, method="svgd", steps=3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    note = f"{(time.process_time() - since) / 3:.1f} s per iteration"
    return [Row("SVGD with 10,000 particles, peak memory", peak, None, "MiB", 2048, note)]

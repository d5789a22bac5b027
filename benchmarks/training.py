"""What a training step costs: objectives, precisions, a peer, waiting for data, memory."""

import dataclasses
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.table import Row, race, seconds_in
from fisherae.data.images import Batches
from fisherae.objectives import ElboObjective
from fisherae.recipes.build import build_objective, build_optimizer
from fisherae.recipes.config import Recipe
from fisherae.recipes.named import recipe
from fisherae.training.config import TrainingConfig
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory

__all__ = ["capture", "data", "memory", "precision", "pythae", "step"]

Network = Literal["mnist", "mlp"]

BATCH = 128
SHAPES = {"mnist": (1, 28, 28), "celeba": (3, 64, 64)}


def stepper(
    name: str, bf16: bool = False, batch: int = BATCH, **objective: Any
) -> Callable[[], object]:
    """A whole training step of a recipe on random images: loss, gradient, its norm, Adam."""
    chosen: Any = recipe(name)
    fields = dataclasses.replace(chosen.objective, **objective)
    chosen = dataclasses.replace(chosen, objective=fields)
    shape = SHAPES[chosen.model.network]
    torch.manual_seed(0)
    module: Any = build_objective(chosen, shape)
    if bf16:
        module.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(module, chosen)
    images = torch.rand(batch, *shape)
    parameters = [one for one in module.parameters() if one.requires_grad]

    def once() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            total = module(images).total
        optimizer.zero_grad()
        total.backward(inputs=parameters)
        nn.utils.clip_grad_norm_(parameters, 1e4)
        optimizer.step()

    return once


def step() -> list[Row]:
    """The Fisher step against the VAE step, networks of Table 2, fp32, one thread."""
    # The floor: a VAE step, and the score terms, as dear as another one, on a part of the batch.
    targets = {1.0: 2.05, 0.5: 1.55, 0.25: 1.3, 0.125: 1.18}
    steps = {fraction: stepper("mnist-fisher", score_fraction=fraction) for fraction in targets}
    vae = stepper("mnist-vae")
    seconds = race({"VAE": vae, **{str(f): s for f, s in steps.items()}}, rounds=7)
    of_vae = seconds_in("convolution", vae, calls=3)
    return [
        Row(
            f"Fisher step, score terms on {fraction:g} of the batch / VAE step",
            seconds[str(fraction)],
            seconds["VAE"],
            "s",
            target,
            f"floor {1 + fraction:g}; the convolutions alone "
            f"{seconds_in('convolution', steps[fraction], calls=3) / of_vae:.3g} of the VAE's",
        )
        for fraction, target in targets.items()
    ]


def precision() -> list[Row]:
    """bf16 against fp32."""
    rows = []
    for name, batch in (("mnist-fisher", BATCH), ("celeba-fisher", 32)):
        steps = {kind: stepper(name, bf16=kind == "bf16", batch=batch) for kind in ("bf16", "fp32")}
        seconds = race(steps, rounds=3)
        what = f"{name} step, bf16 / fp32"
        rows.append(Row(what, seconds["bf16"], seconds["fp32"], "s", 0.65, _bf16_unit()))
    return rows


def _bf16_unit() -> str:
    """What multiplies bf16 here: the target is for AMX, which multiplies tiles."""
    flags = Path("/proc/cpuinfo")
    known = flags.read_text().split() if flags.exists() else []
    units = [name for name in ("amx_bf16", "avx512_bf16") if name in known]
    return f"bf16 by {units[0]}" if units else "no unit for bf16 is known here"


def pythae() -> list[Row]:
    """Our VAE epoch against pythae's: the same networks, data, batches and precision."""
    rows = []
    # 468 steps are an epoch of MNIST; of the large networks, 10 tell as much, but not while what a
    # training begins and ends with, such as checkpoints, counts with them.
    compared: tuple[tuple[Network, int], ...] = (("mnist", 10), ("mlp", 468))
    for network, steps in compared:
        images = torch.randint(256, ((2 + steps) * BATCH, 1, 28, 28), dtype=torch.uint8)
        with tempfile.TemporaryDirectory() as folder:
            epoch: dict[str, Callable[[Tensor], object]] = {
                "ours": partial(_our_epoch, network, Path(folder)),
                "pythae": partial(_pythae_epoch, network, Path(folder)),
                "floor": partial(_bare_epoch, network),
            }
            begun = {
                f"{who}, begun": partial(run, images[: 2 * BATCH]) for who, run in epoch.items()
            }
            spent = race({**{who: partial(run, images) for who, run in epoch.items()}, **begun}, 3)
        seconds = {who: spent[who] - spent[f"{who}, begun"] for who in epoch}
        networks = "Table 2" if network == "mnist" else "fully connected"
        rows.append(
            Row(
                f"VAE epoch / pythae's, {networks} networks",
                seconds["ours"],
                seconds["pythae"],
                "s",
                0.8,
                f"{steps * BATCH:,} images; the networks, their gradients and fused Adam alone "
                f"{seconds['floor']:.3g} s, {seconds['floor'] / seconds['pythae']:.2g} of pythae's",
            )
        )
    return rows


def _vae(network: Network) -> Recipe:
    chosen = recipe("mnist-vae")
    return dataclasses.replace(
        chosen,
        model=dataclasses.replace(chosen.model, network=network),
        training=TrainingConfig(epochs=1, device="cpu"),
    )


def _our_epoch(network: Network, folder: Path, images: Tensor) -> None:
    vae = _vae(network)
    torch.manual_seed(0)
    objective = build_objective(vae, SHAPES["mnist"])
    run = RunDirectory.create(tempfile.mkdtemp(dir=folder), {})
    optimizer = build_optimizer(objective, vae)
    train(objective, optimizer, Batches(images, BATCH), vae.training, run, progress=False)


def _bare_epoch(network: Network, images: Tensor) -> None:
    """What no VAE epoch is without: both networks, their gradients, and the optimiser."""
    vae = _vae(network)
    torch.manual_seed(0)
    objective = build_objective(vae, SHAPES["mnist"])
    assert isinstance(objective, ElboObjective)
    encoder, decoder = objective.model.encoder, objective.model.decoder
    optimizer = build_optimizer(objective, vae)
    for batch in torch.split(images, BATCH):
        mean, _ = encoder(batch.float() / 255).chunk(2, -1)
        decoder(mean).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def _pythae_epoch(network: Network, folder: Path, images: Tensor) -> None:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.inner(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.inner(z))

    torch.manual_seed(0)
    objective = build_objective(_vae(network), SHAPES["mnist"])
    assert isinstance(objective, ElboObjective)
    ours = objective.model
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=8, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(ours.encoder), decoder=Decoder(ours.decoder))
    trainer = BaseTrainer(
        model=model,
        train_dataset=BaseDataset(images.float() / 255, torch.zeros(len(images))),
        eval_dataset=None,
        training_config=BaseTrainerConfig(
            output_dir=str(folder), num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True,
            learning_rate=2e-4,
        ),
    )  # fmt: skip
    trainer.train()


def capture() -> list[Row]:
    """On a GPU: MNIST's steps recorded as CUDA graphs against the same steps launched kernel by
    kernel, and 100 epochs of them."""
    if not torch.cuda.is_available():
        print("capture: skipped, for it needs a CUDA device", file=sys.stderr)
        return []
    note = f"{torch.cuda.get_device_name()}, device events"
    cases: dict[str, tuple[str, dict[str, float]]] = {
        "Fisher step, a quarter": ("mnist-fisher", {}),
        "Fisher step, full": ("mnist-fisher", {"score_fraction": 1.0}),
        "VAE step": ("mnist-vae", {}),
    }
    rows, captured = [], {}
    for precision in ("fp32", "bf16"):
        for what, (name, fields) in cases.items():
            eager, recorded = (
                _milliseconds_per_step(name, fields, precision, recorded)
                for recorded in (False, True)
            )
            captured[what] = recorded
            label = f"{what}, {precision}: captured / eager"
            kernels = f"{note}; {_kernels(name, fields, precision)}"
            rows.append(Row(label, recorded, eager, "ms", 0.5, kernels))
            hundred = 100 * (60_000 // BATCH) * recorded / 1e3
            label = f"{what}, {precision}: 100 epochs of 60,000 images"
            rows.append(Row(label, hundred, None, "s", 180, note))
        for what, target in (("Fisher step, a quarter", 1.3), ("Fisher step, full", 2.05)):
            label = f"{what} / VAE step, captured, {precision}"
            rows.append(Row(label, captured[what], captured["VAE step"], "ms", target, note))
    return rows


def _milliseconds_per_step(
    name: str,
    fields: Mapping[str, float],
    precision: Literal["fp32", "bf16"],
    recorded: bool,
    steps: int = 60,
) -> float:
    """Of the training loop itself, batches and logging included, after as many steps before."""
    event: Any = torch.cuda.Event  # which torch leaves without types
    events = [event(enable_timing=True) for _ in range(2)]

    def look(step: int) -> None:
        if step in (steps, 2 * steps - 1):
            events[step > steps].record()

    _train_on_gpu(name, fields, precision, recorded, 2 * steps, look)
    milliseconds: float = events[0].elapsed_time(events[1])
    return milliseconds / (steps - 1)


def _kernels(
    name: str, fields: Mapping[str, float], precision: Literal["fp32", "bf16"], steps: int = 10
) -> str:
    """How many kernels a step is made of, and how long they take by themselves."""
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

    def look(step: int) -> None:
        if step == steps:
            profile.start()
        if step == 2 * steps:
            torch.cuda.synchronize()
            profile.stop()

    _train_on_gpu(name, fields, precision, False, 2 * steps + 1, look)
    own = [event for event in profile.key_averages() if event.device_type.name == "CUDA"]
    count = sum(event.count for event in own) / steps
    milliseconds = sum(event.self_device_time_total for event in own) / steps / 1e3
    return f"{count:.0f} kernels, which take {milliseconds:.3g} ms"


def _train_on_gpu(
    name: str,
    fields: Mapping[str, float],
    precision: Literal["fp32", "bf16"],
    recorded: bool,
    steps: int,
    look: Callable[[int], None],
) -> None:
    """So many steps of a recipe; `look` is told the number of each before it."""
    chosen: Any = recipe(name)
    chosen = dataclasses.replace(
        chosen,
        objective=dataclasses.replace(chosen.objective, **fields),
        training=dataclasses.replace(
            chosen.training, epochs=1, device="cuda", precision=precision, capture=recorded
        ),
    )
    images = torch.randint(256, (8 * BATCH, *SHAPES["mnist"]), dtype=torch.uint8)
    source = Batches(images, BATCH, device="cuda")
    torch.manual_seed(0)
    objective = build_objective(chosen, SHAPES["mnist"])
    optimizer = build_optimizer(objective, chosen)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", {})
        endless = _Endless(steps, look, source)
        train(objective, optimizer, endless, chosen.training, run, progress=False)
    torch.cuda.synchronize()


def data() -> list[Row]:
    """The share of an epoch's time that is spent waiting for the next batch."""
    rows = []
    for name, count in (("mnist-vae", 60_000), ("celeba-vae", 10_000)):
        shape = SHAPES[recipe(name).model.network]
        batches = Batches(torch.zeros(count, *shape, dtype=torch.uint8), BATCH)
        since = time.process_time()
        for _ in batches.epoch(0):
            pass
        waiting = (time.process_time() - since) / batches.steps_per_epoch
        working = race({"step": stepper(name, bf16=True)}, rounds=2)["step"]
        rows.append(Row(f"{name}: wait for a batch / bf16 step", waiting, working, "s", 0.01))
    return rows


class _Thin(nn.Module):
    """An objective that costs next to nothing, so that ten thousand steps of the loop are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Any:
        loss = self.linear(x.flatten(1)).square().mean()
        return _Terms(loss)


@dataclasses.dataclass(frozen=True)
class _Terms:
    total: Tensor

    def by_name(self) -> dict[str, Tensor]:
        return {"loss": self.total}


class _Endless:
    """One epoch of many steps over the batches of a source; `at` is told the number of each."""

    def __init__(self, steps: int, at: Callable[[int], None], source: Batches):
        self.steps_per_epoch, self.at, self.source = steps, at, source

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        for step in range(start, self.steps_per_epoch, self.source.steps_per_epoch):
            for index, images in enumerate(self.source.epoch(step)):
                self.at(step + index)
                yield images


def memory() -> list[Row]:
    """Resident memory after 10,000 training steps against that after 1,000."""
    seen: dict[int, float] = {}

    def look(step: int) -> None:
        if step in (1_000, 9_999):
            seen[step] = resident()

    images = torch.randint(256, (100 * 16, 1, 8, 8), dtype=torch.uint8)
    objective = _Thin()
    optimizer = torch.optim.Adam(objective.parameters())
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", {})
        config = TrainingConfig(epochs=1, device="cpu")
        endless = _Endless(10_000, look, Batches(images, 16))
        train(objective, optimizer, endless, config, run, progress=False)
    return [Row("memory after 10,000 steps / 1,000", seen[9_999], seen[1_000], "MiB", 1.01)]


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20

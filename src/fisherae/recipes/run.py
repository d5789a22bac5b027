"""From a recipe to a run: data, training, and the trained model in its directory."""

import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator
from torch import Tensor

from fisherae.autoencoder import Autoencoder, device_of, evaluating, load
from fisherae.data.images import Batches, as_float, random_subset, to_float
from fisherae.errors import InputError
from fisherae.files import read_tensors, write_atomically
from fisherae.objectives.terms import Objective
from fisherae.priors import PolynomialPrior
from fisherae.recipes.build import build_objective, build_optimizer, load_data, training_images
from fisherae.recipes.config import Recipe, from_dict, to_dict
from fisherae.recipes.normalization import settle_normalization
from fisherae.recipes.watch import active_in, warn_of_silent_failure
from fisherae.training.checkpoint import Checkpoint
from fisherae.training.device import means_lost_process, start_accelerator
from fisherae.training.loop import train
from fisherae.training.run import RunDirectory

__all__ = ["latents_of", "load_run", "recipe_of", "train_recipe"]

MODEL, LATENTS = "model", "latents.safetensors"
VALIDATION_IMAGES = 1_000
AGGREGATED_IMAGES = 10_000
NORMALIZING_IMAGES = 2_048


def train_recipe(
    recipe: Recipe, out: Path | str, resume: bool = False, progress: bool = True
) -> Autoencoder:
    """Trains what a recipe says and leaves everything in the run directory `out`.

    Beside what `fisherae.training` writes there are `model/` (for `fisherae.load`) and
    `latents.safetensors`, samples of the aggregated posterior, for refitting the prior. Improper
    dimensions of a polynomial prior are confined to the range of these latents, and the running
    statistics of batch normalisation are taken anew (`fisherae.recipes.normalization`).

    Raises:
        InputError: if `out` exists and `resume` is off, or the data or a value is not usable.
        NonFiniteError: if training diverges.
    """
    accelerator = start_accelerator(recipe.training.device, recipe.training.capture)
    if accelerator.is_main_process:
        (RunDirectory.open if resume else RunDirectory.require_new)(out)
    images = training_images(recipe, progress)
    torch.manual_seed(recipe.training.seed)
    objective = build_objective(recipe, tuple(images.shape[1:])).to(accelerator.device)
    with RunDirectory.locked(out) if accelerator.is_main_process else nullcontext():
        run = _begun(out, recipe, resume, accelerator)
        batches = Batches(
            images,
            recipe.training.batch_size,
            recipe.model.value_range,
            recipe.training.seed,
            accelerator.device,
            accelerator.process_index,
            accelerator.num_processes,
        )
        model = objective.model
        train(
            objective,
            build_optimizer(objective, recipe),
            batches,
            recipe.training,
            run,
            resume=resume,
            progress=progress,
            validate=_validation(model, recipe, accelerator.device, at_most=len(images)),
        )
        if accelerator.is_main_process:
            _finish(objective, images, recipe, run)
        _await_finish(accelerator, run)
        if not accelerator.is_main_process:  # of which only the first has made it what it is
            model.load_state_dict(load(run.path / MODEL).state_dict())
    return model.eval()


def _begun(out: Path | str, recipe: Recipe, resume: bool, accelerator: Accelerator) -> RunDirectory:
    """The run directory, written by the first process, read by all."""
    if accelerator.is_main_process:
        if resume:
            _require_no_fewer_epochs(Path(out), recipe.training.epochs)
        begin = RunDirectory.resume if resume else RunDirectory.create
        begin(out, to_dict(recipe))
    accelerator.wait_for_everyone()
    return RunDirectory.open(out)


def epochs_done(run: Path | str) -> float | None:
    """How many epochs the newest checkpoint of a run has; None without one.

    Example:
        >>> epochs_done("runs/nothing") is None
        True
    """
    state = Checkpoint.latest_state(Path(run) / "checkpoints")
    return None if state is None else state.step / state.steps_per_epoch


def _require_no_fewer_epochs(run: Path, epochs: int) -> None:
    """Before the run's configuration says so."""
    done = epochs_done(run) or 0
    if done > epochs:
        raise InputError(
            f"{run} was trained for {done:.4g} epochs, and cannot be taken back to {epochs}: "
            f"resume with --epochs {math.ceil(done)} or more, or train anew with another --out"
        )


def _await_finish(accelerator: Accelerator, run: RunDirectory) -> None:
    """Whoever leaves before the others ends them."""
    try:
        accelerator.wait_for_everyone()
    except RuntimeError as error:
        if not means_lost_process(error):
            raise
        raise InputError(
            f"another process of this training is gone, at its end; {run.path} holds its "
            "checkpoints: continue with --resume"
        ) from error


def load_run(path: Path | str) -> tuple[Autoencoder, Recipe]:
    """The trained model of a run directory, and its recipe.

    The networks are put on the GPU where there is one. The prior stays on the CPU, so that its
    samples are the same everywhere.

    Raises:
        InputError: if there is no run, or its training has not finished.
    """
    recipe, model = recipe_of(path), Path(path) / MODEL
    if not (model / "config.json").is_file():
        raise InputError(f"{path} has no trained model yet: finish its training with --resume")
    loaded = load(model)
    if torch.cuda.is_available():
        for networks in (loaded.encoder, loaded.decoder, loaded.likelihood):
            networks.cuda()
    return loaded, recipe


def recipe_of(path: Path | str) -> Recipe:
    """The recipe of a run directory, finished or not.

    Raises:
        InputError: if there is no run, or its configuration is damaged.
    """
    run = RunDirectory.open(path)
    try:
        return from_dict(run.config)
    except InputError as error:
        raise InputError(f"{run.path / 'config.json'}: {error}") from None


def latents_of(path: Path | str) -> Tensor:
    """Samples of the aggregated posterior that a run kept, shape (n, dim).

    Raises:
        InputError: if the run has none.
    """
    file = Path(path) / LATENTS
    try:
        z = read_tensors(file).get("z")
    except InputError as error:
        raise InputError(
            f"{error}; not the latents of a run: finish its training with --resume"
        ) from None
    if z is None or z.dim() != 2 or not z.is_floating_point():
        raise InputError(f"{file}: not the latents of a run, which are floats z of shape (n, dim)")
    return z


def _validation(
    model: Autoencoder, recipe: Recipe, device: torch.device, at_most: int
) -> Callable[[], dict[str, float]] | None:
    """Mean squared error per pixel on held-out images, clean, and how many latents are in use."""
    try:
        held_out = load_data(recipe, "test", limit=min(VALIDATION_IMAGES, at_most))
    except InputError as error:
        warnings.warn(f"training without validation: {error}", stacklevel=2)
        return None
    x = to_float(held_out.images, recipe.model.value_range).to(device)

    @torch.no_grad()
    def validate() -> dict[str, float]:
        with evaluating(model):
            posteriors = [model.encode(part) for part in torch.split(x, 512)]
            reconstructed = torch.cat([model.decode(q.mean).mean for q in posteriors])
        mse = (reconstructed - x).square().mean().item()
        return {"mse": mse, "active_latents": active_in(posteriors).sum().item()}

    return validate


def _finish(objective: Objective, images: Tensor, recipe: Recipe, run: RunDirectory) -> None:
    model = objective.model
    some = images[_chosen(images, recipe, NORMALIZING_IMAGES)]
    settle_normalization(objective, some, recipe.training.batch_size, recipe.model.value_range)
    z = _aggregated_posterior(model, images, recipe)
    if isinstance(model.prior, PolynomialPrior):
        model.prior.confine(z)
    write_atomically(run.path / LATENTS, safetensors.torch.save({"z": z.cpu()}))
    model.save(run.path / MODEL)
    some = as_float(images[_chosen(images, recipe, VALIDATION_IMAGES)], recipe.model.value_range)
    warn_of_silent_failure(model, some.to(z.device), z, run, recipe.has_prior)


@torch.no_grad()
def _aggregated_posterior(model: Autoencoder, images: Tensor, recipe: Recipe) -> Tensor:
    """One sample of q(z|x) for each of up to 10,000 training images, shape (n, dim)."""
    device = device_of(model)
    chosen = _chosen(images, recipe, AGGREGATED_IMAGES)
    with evaluating(model):
        parts = [
            model.encode(as_float(part, recipe.model.value_range).to(device)).rsample()
            for part in torch.split(images[chosen], 512)
        ]
    return torch.cat(parts)


def _chosen(images: Tensor, recipe: Recipe, at_most: int) -> Tensor:
    return random_subset(len(images), min(len(images), at_most), recipe.training.seed)

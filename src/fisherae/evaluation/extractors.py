r"""Features in which generated images are compared with real ones."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fisherae.autoencoder import evaluating
from fisherae.data.images import ImageDataset, to_float, to_uint8
from fisherae.errors import InputError
from fisherae.files import read_json, write_atomically, write_json
from fisherae.networks.layers import InputSize, lookup
from fisherae.progress import tracked

__all__ = ["Extractor", "classifier_extractor", "extractor", "inception_extractor", "random_cnn"]

FEATURES = 128
BATCH_SIZE, LEARNING_RATE, SEED = 128, 2e-3, 0


@dataclass(frozen=True, eq=False)
class Extractor:
    r"""A network whose output is compared, and its name, which is part of the metric's.

    Arguments:
        name: e.g. "mnist-cnn", which gives "fid[mnist-cnn]".
        dim: number of features.
        description: what the network is, for tables and reports.
        network: images in [0, 1], shape (N, C, H, W) -> features, shape (N, dim).

    Raises:
        InputError: from the call, if a pixel is not in [0, 1], the network does not take images
            of that shape, or what it returns is not finite or not (N, dim).

    Example:
        >>> pixels = Extractor("pixels", 16, "the pixels themselves", nn.Flatten())
        >>> pixels(torch.rand(5, 1, 4, 4)).shape
        torch.Size([5, 16])
    """

    name: str
    dim: int
    description: str
    network: nn.Module

    def __call__(self, images: Float[Tensor, "batch *image"]) -> Float[Tensor, "batch dim"]:
        """The features, on the CPU; the network runs in eval mode and without a gradient."""
        if images.dim() != 4 or len(images) == 0:
            raise InputError(f"images have shape {tuple(images.shape)}: give (N, C, H, W), N ≥ 1")
        low, high = images.min().item(), images.max().item()
        if not 0 <= low <= high <= 1:
            raise InputError(f"pixels lie in [{low:g}, {high:g}]: scale or clip them to [0, 1]")
        parameter = next(self.network.parameters(), images)
        with torch.no_grad(), evaluating(self.network):
            features: Tensor = self.network(images.to(parameter)).cpu()
        if features.shape != (len(images), self.dim) or not features.isfinite().all():
            raise InputError(
                f"the network of extractor {self.name!r} returns shape {tuple(features.shape)} "
                f"for {len(images)} images: it must be ({len(images)}, {self.dim}), and finite"
            )
        return features


def extractor(
    name: str,
    train: ImageDataset,
    test: ImageDataset,
    cache: Path | str,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Extractor:
    r"""That of the name "DATA-cnn" (see `classifier_extractor`), "random-cnn" or "inception".

    Raises:
        InputError: there is no such extractor, or it cannot be had.

    Example:
        >>> from fisherae.data.sources import load_digits
        >>> extractor("random-cnn", load_digits("train"), load_digits("test"), "cache").dim
        128
    """
    known: dict[str, Callable[..., Extractor]] = {
        f"{train.name}-cnn": partial(classifier_extractor, train, test, cache, progress=progress),
        "random-cnn": partial(random_cnn, train.shape),
        "inception": inception_extractor,
    }
    return lookup("extractor", name, known)(device=device)


def classifier_extractor(
    train: ImageDataset,
    test: ImageDataset,
    cache: Path | str,
    steps: int = 1500,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Extractor:
    r"""The last hidden layer (128 features) of a small convolutional classifier, named "DATA-cnn".

    It is trained at the first call, for MNIST in about a minute on one core, and kept for the
    next, while data, network and training are the same (damaged files: a warning, a new training).

    Arguments:
        train: images with labels of two classes or more, to learn from.
        test: images with labels; the description says how many of them it gets right.
        cache: folder for `NAME-FINGERPRINT.safetensors` and `.json`.
        steps: of Adam, on 128 images each.
        device: where the network is trained and runs.
        progress: show a progress bar while it is trained.

    Raises:
        InputError: no such labels, images of two shapes, or no step.

    Example:
        >>> import tempfile
        >>> from fisherae.data.sources import load_digits
        >>> train, test = load_digits("train"), load_digits("test")
        >>> digits = classifier_extractor(train, test, tempfile.mkdtemp(), steps=10)
        >>> digits.name, digits(to_float(test.images, (0.0, 1.0))).shape
        ('digits-cnn', torch.Size([360, 128]))
    """
    labels, test_labels = _labels(train, test)
    if steps < 1:
        raise InputError(f"steps is {steps}: give at least 1")
    name = f"{train.name}-cnn"
    network = _cnn(train.shape, int(labels.max()) + 1)
    key = _fingerprint(train, test, network, steps)
    stem = Path(cache) / f"{name.replace('/', '-')}-{key}"
    accuracy = _restore(network, stem)
    network.to(device)
    if accuracy is None:
        _fit(network, train.images.to(device), labels.to(device), steps, progress)
        accuracy = _accuracy(network, test.images.to(device), test_labels.to(device))
        _save(network, stem, accuracy)
    right = f"{100 * accuracy:.1f} % of {len(test):,} test images right"
    return Extractor(name, FEATURES, f"convolutional classifier, {right}", network[:-1])


def random_cnn(shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Extractor:
    r"""The same layers with fixed random weights, named "random-cnn", for images without labels.

    It ranks coarsely only: it sees that images differ, not whether the difference matters. The
    images have shape (channels, height, width).

    References:
        Naeem et al. (2020), Reliable Fidelity and Diversity Metrics for Generative Models,
        https://arxiv.org/abs/2002.09797

    Example:
        >>> random_cnn((3, 64, 64))(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 128])
    """
    description = "convolutional network with random weights, which ranks only coarsely"
    return Extractor("random-cnn", FEATURES, description, _cnn(shape, 1)[:-1].to(device))


def inception_extractor(device: torch.device | str = "cpu") -> Extractor:
    r"""The 2,048 features of Inception-v3's last pooling, the ones of the literature.

    TensorFlow's weights of 2015 and its way to enlarge images, as torch-fidelity ports them; the
    weights are downloaded at the first call. Grey images are repeated in the three channels.

    Raises:
        InputError: torch-fidelity or the weights cannot be had.

    References:
        Obukhov et al. (2020), torch-fidelity, https://github.com/toshas/torch-fidelity
    """
    description = "Inception-v3 pool3, weights of 2015-12-05 ported by torch-fidelity"
    return Extractor("inception", 2048, description, _Inception().to(device))


class _Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        try:
            fidelity = import_module("torch_fidelity")
            self.network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        # No closed set: the package, an unfit torchvision, the network, a damaged download.
        except Exception as error:
            raise InputError(
                f"the extractor 'inception' cannot be had ({error}): pip install "
                "'fisherae[inception]' where it can download its weights, or choose another one"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise InputError(f"images have {images.shape[1]} channels: inception takes 1 or 3")
        features: Tensor
        (features,) = self.network(to_uint8(images.expand(-1, 3, -1, -1), (0.0, 1.0)))
        return features


def _cnn(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """With the same weights at every call; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        network = nn.Sequential(
            InputSize(*shape),
            nn.Conv2d(shape[0], 32, 5, 2, 2),
            nn.BatchNorm2d(32),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, FEATURES),
            nn.SiLU(),
            nn.Linear(FEATURES, classes),
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:  # torch's own start would shrink the features of random-cnn
                nn.init.kaiming_normal_(parameter)
    return network


def _labels(train: ImageDataset, test: ImageDataset) -> tuple[Tensor, Tensor]:
    labels, test_labels = train.labels, test.labels
    if labels is None or test_labels is None or not 0 <= labels.min() < labels.max():
        raise InputError(
            f"{train.name} has no labels of two classes or more (0, 1, …) to train a classifier "
            "with: choose another extractor, random-cnn or inception"
        )
    if train.shape != test.shape:
        raise InputError(f"training images are {train.shape}, test images {test.shape}: resize one")
    return labels, test_labels


def _fit(network: nn.Module, images: Tensor, labels: Tensor, steps: int, progress: bool) -> None:
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    generator = torch.Generator().manual_seed(SEED)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tracked(range(steps), "training the feature extractor", progress):
        index = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
        logits = network(to_float(images[index], (0.0, 1.0)))
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, labels[index]))
        optimizer.step()
        schedule.step()


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    batches = (to_float(part, (0.0, 1.0)) for part in torch.split(images, 512))
    with torch.no_grad(), evaluating(network):
        chosen = torch.cat([network(batch).argmax(1) for batch in batches])
    return float((chosen == labels).double().mean())


def _fingerprint(train: ImageDataset, test: ImageDataset, network: nn.Module, steps: int) -> str:
    """Of all that the trained weights and their accuracy depend on."""
    digest = hashlib.sha256(f"{network} {steps} {BATCH_SIZE} {LEARNING_RATE} {SEED}".encode())
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()[:12]


def _save(network: nn.Module, stem: Path, accuracy: float) -> None:
    weights = safetensors.torch.save({k: v.cpu() for k, v in network.state_dict().items()})
    card = {"test_accuracy": accuracy, "sha256": hashlib.sha256(weights).hexdigest()}
    write_atomically(f"{stem}.safetensors", weights)
    write_json(f"{stem}.json", card)  # last, so that what it speaks of is there


def _restore(network: nn.Module, stem: Path) -> float | None:
    """The accuracy of the weights that were put into the network; None if there are none."""
    if not Path(f"{stem}.json").exists():
        return None
    try:
        weights, card = Path(f"{stem}.safetensors").read_bytes(), read_json(f"{stem}.json")
        if card["sha256"] != hashlib.sha256(weights).hexdigest():
            raise InputError("the weights do not match their SHA-256")
        network.load_state_dict(safetensors.torch.load(weights))
        return float(card["test_accuracy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        damaged = f"{stem}.json or .safetensors is damaged ({error!r})"
        warnings.warn(f"{damaged}: the classifier is trained again", stacklevel=3)
        return None

"""The statistics that batch normalisation uses after training."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from fisherae.autoencoder import Autoencoder, device_of, evaluating
from fisherae.data.images import as_float

__all__ = ["settle_normalization"]


def settle_normalization(
    model: Autoencoder, images: Tensor, batch_size: int, value_range: tuple[float, float]
) -> None:
    r"""Takes the running statistics of batch normalisation anew, as averages over training images.

    The running averages of a training lag behind weights that move fast, as WAE-GAN's do. All
    models are settled alike, lest a comparison be one of running averages.

    Arguments:
        model: as trained; changed in place, where it has batch normalisation.
        images: training images, uint8 or float in `value_range`.
        batch_size: that of the training.
        value_range: of the pixels.

    References:
        Wu and Johnson (2021), Rethinking "Batch" in BatchNorm, section 3 (precise BN),
        https://arxiv.org/abs/2105.07576

    Example:
        >>> from fisherae.networks import mlp
        >>> from fisherae.priors import StandardNormal
        >>> encoder = mlp.encoder((1, 4, 4), dim=2, hidden=(8,), normalization="batch")
        >>> model = Autoencoder(encoder, mlp.decoder((1, 4, 4), dim=2), StandardNormal(2))
        >>> settle_normalization(model, torch.rand(64, 1, 4, 4), 16, (0.0, 1.0))
        >>> encoder[3].num_batches_tracked
        tensor(4)
    """
    device = device_of(model)
    # Whole batches only: the last rest may be a single image, which has no variance.
    size = min(batch_size, len(images))
    whole = images[: len(images) // size * size]
    batches = (as_float(part, value_range).to(device) for part in torch.split(whole, size))
    with evaluating(model):  # for the modes that it had before
        update_bn(batches, _Pass(model))


class _Pass(nn.Module):
    """What a training step sends through both networks."""

    def __init__(self, model: Autoencoder):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.model.decode(self.model.encode(x).rsample()).mean
        return image

"""The statistics that batch normalisation uses after training."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from fisherae.autoencoder import device_of, evaluating
from fisherae.data.images import as_float
from fisherae.objectives.terms import Objective

__all__ = ["settle_normalization"]


def settle_normalization(
    objective: Objective, images: Tensor, batch_size: int, value_range: tuple[float, float]
) -> None:
    r"""Takes the running statistics of batch normalisation anew, as averages over training images.

    The running averages of a training lag behind weights that move fast, as WAE-GAN's do. All
    models are settled alike, lest a comparison be one of running averages.

    Arguments:
        objective: as trained; its model is changed in place, where it has batch normalisation.
        images: training images, uint8 or float in `value_range`.
        batch_size: that of the training.
        value_range: of the pixels.

    References:
        Wu and Johnson (2021), Rethinking "Batch" in BatchNorm, section 3 (precise BN),
        https://arxiv.org/abs/2105.07576

    Example:
        >>> import fisherae as fae
        >>> from fisherae.networks import mlp
        >>> encoder = mlp.encoder((1, 4, 4), dim=2, hidden=(8,), normalization="batch")
        >>> model = fae.Autoencoder(encoder, mlp.decoder((1, 4, 4), dim=2), fae.StandardNormal(2))
        >>> objective = fae.ElboObjective(model)
        >>> settle_normalization(objective, torch.rand(64, 1, 4, 4), 16, (0.0, 1.0))
        >>> encoder[3].num_batches_tracked
        tensor(4)
    """
    device = device_of(objective.model)
    # Whole batches only: the last rest may be a single image, which has no variance.
    size = min(batch_size, len(images))
    whole = images[: len(images) // size * size]
    batches = (as_float(part, value_range).to(device) for part in torch.split(whole, size))
    with evaluating(objective):  # for the modes that it had before
        update_bn(batches, _Pass(objective))


class _Pass(nn.Module):
    """What a training step sends through both networks."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def forward(self, x: Tensor) -> Tensor:
        model = self.objective.model
        image: Tensor = model.decode(model.encode(self.objective.seen(x)).rsample()).mean
        return image

r"""How well clusters of the latents agree with the classes (Figure 3)."""

import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["kmeans_nmi", "nmi"]


def nmi(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    r"""Normalised mutual information of two labellings, in [0, 1]; 1 is full agreement.

        NMI(Ω; C) = 2 I(Ω; C) / (H(Ω) + H(C))

    It does not depend on how clusters or classes are named.

    Arguments:
        labels: the true class of each image, shape (images,), integers.
        clusters: the cluster of each image, shape (images,), integers.

    References:
        Elkhalil et al. (2021), Fisher Auto-Encoders, section 4 and Figure 3,
        https://arxiv.org/abs/2007.06120

    Example:
        >>> nmi([0, 0, 1, 1], [1, 1, 0, 0])
        1.0
    """
    return float(normalized_mutual_info_score(labels, clusters, average_method="arithmetic"))


def kmeans_nmi(
    latents: Float[Tensor, "images dim"], labels: Int[Tensor, "images"], seed: int = 0
) -> float:
    r"""NMI between the classes and k-means clusters of the latents, one cluster per class.

    Arguments:
        latents: posterior means or a map of them, shape (images, dim).
        labels: the true class of each image, shape (images,).
        seed: of the ten k-means starts, of which the best is kept.

    Raises:
        InputError: a latent is not finite.

    Example:
        >>> latents = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> kmeans_nmi(latents, torch.tensor([3, 3, 7, 7]))
        1.0
    """
    if not torch.isfinite(latents).all():
        count = int((~torch.isfinite(latents)).any(dim=1).sum())
        raise InputError(
            f"the latents of {count} of {len(latents)} images are not finite: the model has "
            "diverged; take an earlier checkpoint or train with a smaller learning rate"
        )
    kmeans = KMeans(n_clusters=len(set(labels.tolist())), n_init=10, random_state=seed)
    return nmi(labels.cpu().numpy(), kmeans.fit_predict(latents.detach().cpu().numpy()))

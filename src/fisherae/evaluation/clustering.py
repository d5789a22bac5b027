r"""Clusters of the latents against the classes (Figure 3), and maps of the latents (Figure 4)."""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from fisherae.errors import InputError

__all__ = ["finite_array", "kmeans_nmi", "nmi", "tsne"]


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
    array = finite_array(latents)
    # No more clusters than there are different latents: a collapsed model may have a single one.
    clusters = min(len(set(labels.tolist())), len(np.unique(array, axis=0)))
    kmeans = KMeans(clusters, n_init=10, random_state=seed)
    return nmi(labels.cpu().numpy(), kmeans.fit_predict(array))


def tsne(latents: Float[Tensor, "images dim"], seed: int = 0) -> Float[Tensor, "images 2"]:
    r"""A map of the latents in the plane that keeps near ones near: Barnes-Hut t-SNE.

    Perplexity 30 (less for few images), 500 iterations from the first two principal components.
    It runs on one thread, as several would add up in any order: the same latents give the same
    map. Figure 3 is `kmeans_nmi(tsne(latents), labels)`. 10,000 images take some 20 seconds.

    Arguments:
        latents: posterior means, shape (images, dim).
        seed: of the start, where there are no two components.

    Raises:
        InputError: fewer than two images, or a latent that is not finite.

    References:
        van der Maaten (2014), Accelerating t-SNE using tree-based algorithms, JMLR 15

    Example:
        >>> tsne(torch.randn(20, 8)).shape
        torch.Size([20, 2])
    """
    if len(latents) < 2:
        raise InputError(f"{len(latents)} images make no map: give at least two")
    array = finite_array(latents)
    spread = array.shape[1] > 1 and np.ptp(array, axis=0).any()
    # Less exaggeration and larger steps than scikit-learn's defaults, which take twice the
    # iterations to within 1 % of the same Kullback-Leibler divergence.
    model = TSNE(
        perplexity=min(30, (len(array) - 1) / 3),
        early_exaggeration=4,
        learning_rate=max(len(array) / 8, 50),
        max_iter=500,
        init="pca" if spread else "random",
        angle=0.8,
        random_state=seed,
    )
    with threadpool_limits(1):
        return torch.from_numpy(model.fit_transform(array))


def finite_array(latents: Float[Tensor, "images dim"]) -> npt.NDArray[np.floating]:
    """The latents as scikit-learn takes them.

    Raises:
        InputError: a latent is not finite.

    Example:
        >>> finite_array(torch.zeros(3, 2)).shape
        (3, 2)
    """
    broken = int((~torch.isfinite(latents)).any(dim=1).sum())
    if broken:
        raise InputError(
            f"the latents of {broken} of {len(latents)} images are not finite: the model has "
            "diverged; take an earlier checkpoint or train with a smaller learning rate"
        )
    return latents.detach().cpu().numpy()

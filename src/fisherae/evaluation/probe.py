r"""How well the classes can be read off the latents, by a linear classifier."""

from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fisherae.errors import InputError
from fisherae.evaluation.clustering import finite_array

__all__ = ["LinearProbe"]


class LinearProbe:
    r"""Multinomial logistic regression from standardised latents to classes.

    Fitted to the posterior means of clean training images, it tells at test time how much of the
    class corrupted images leave in theirs:

        p(c | z) ∝ exp(w_c⊤ (z − m) / s + b_c)

    with the training latents' mean m and standard deviation s, per dimension, and ‖w‖² / 2 added
    to the summed negative log-likelihood.

    Arguments:
        latents: posterior means of the training images, shape (images, dim).
        labels: their classes, shape (images,).

    Raises:
        InputError: a latent is not finite, or there are fewer than two classes.

    References:
        Alain and Bengio (2016), Understanding intermediate layers using linear classifier probes,
        https://arxiv.org/abs/1610.01644

    Example:
        >>> from torch import tensor
        >>> probe = LinearProbe(tensor([[-2.0], [-1.0], [1.0], [2.0]]), tensor([3, 3, 7, 7]))
        >>> probe.accuracy(tensor([[-5.0], [0.4]]), tensor([3, 3]))
        0.5
    """

    def __init__(self, latents: Float[Tensor, "images dim"], labels: Int[Tensor, "images"]):
        if len(set(labels.tolist())) < 2:
            raise InputError("the labels hold fewer than two classes: give images of at least two")
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        self._classifier = classifier.fit(finite_array(latents), labels.cpu().numpy())

    def accuracy(
        self, latents: Float[Tensor, "images dim"], labels: Int[Tensor, "images"]
    ) -> float:
        """Share of the images whose class the probe names, in [0, 1].

        Raises:
            InputError: a latent is not finite.
        """
        return float(self._classifier.score(finite_array(latents), labels.cpu().numpy()))

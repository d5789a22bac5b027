import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from fisherae.errors import InputError
from fisherae.evaluation.clustering import kmeans_nmi, nmi, tsne

LABELLING = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=60)


def entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def nmi_by_definition(labels: list[int], clusters: list[int]) -> float:
    """2 I / (H + H) with I = H(labels) + H(clusters) - H(both)."""
    table = np.zeros((max(labels) + 1, max(clusters) + 1))
    np.add.at(table, (labels, clusters), 1)
    own, other, joint = entropy(table.sum(1)), entropy(table.sum(0)), entropy(table.ravel())
    return 2 * (own + other - joint) / (own + other)


@given(LABELLING)
def test_nmi_is_its_definition(pairs: list[tuple[int, int]]) -> None:
    labels, clusters = [list(side) for side in zip(*pairs, strict=True)]
    if len(set(labels)) == len(set(clusters)) == 1:
        assert nmi(labels, clusters) == 1.0
    else:
        assert nmi(labels, clusters) == pytest.approx(nmi_by_definition(labels, clusters), abs=1e-9)


def test_nmi_knows_no_names_and_is_symmetric() -> None:
    labels, clusters = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2]
    renamed = [[7, 3, 5][cluster] for cluster in clusters]
    assert nmi(labels, clusters) == pytest.approx(nmi(labels, renamed))
    assert nmi(labels, clusters) == pytest.approx(nmi(clusters, labels))


def test_kmeans_finds_separate_clusters_and_not_absent_ones() -> None:
    labels = torch.arange(300) % 3
    noise = torch.randn(300, 2)
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    assert kmeans_nmi(centres[labels] + noise, labels) == pytest.approx(1.0)
    assert kmeans_nmi(noise, labels) < 0.1


def test_kmeans_repeats_itself() -> None:
    latents, labels = torch.randn(200, 4), torch.arange(200) % 10
    assert kmeans_nmi(latents, labels, seed=3) == kmeans_nmi(latents, labels, seed=3)


def test_latents_that_are_not_finite_are_named() -> None:
    latents = torch.zeros(4, 2)
    latents[1, 0] = torch.nan
    with pytest.raises(InputError, match="1 of 4 images are not finite"):
        kmeans_nmi(latents, torch.tensor([0, 0, 1, 1]))
    with pytest.raises(InputError, match="1 of 4 images are not finite"):
        tsne(latents)


def test_a_map_keeps_clusters_apart_and_neighbours_together() -> None:
    labels = torch.arange(200) % 4
    latents = 20 * torch.eye(4, 8)[labels] + torch.randn(200, 8)
    shown = tsne(latents)
    assert kmeans_nmi(shown, labels) == pytest.approx(1.0)
    assert trustworthiness(latents.numpy(), shown.numpy(), n_neighbors=10) > 0.9


def test_a_map_repeats_itself_and_takes_no_gradient() -> None:
    latents = torch.randn(100, 8, requires_grad=True)
    shown = tsne(latents)
    assert not shown.requires_grad
    assert torch.equal(shown, tsne(latents))


@pytest.mark.parametrize(
    "latents",
    [torch.randn(2, 8), torch.randn(5, 3), torch.randn(91, 2), torch.randn(20, 1)],
    ids=["two images", "five images", "as many as neighbours", "one dimension"],
)
def test_few_images_or_dimensions_have_a_map(latents: torch.Tensor) -> None:
    assert torch.isfinite(tsne(latents)).all()
    assert tsne(latents).shape == (len(latents), 2)


def test_a_collapsed_posterior_has_a_map() -> None:
    assert torch.isfinite(tsne(torch.full((50, 4), 0.3))).all()


def test_one_image_has_no_map() -> None:
    with pytest.raises(InputError, match="at least two"):
        tsne(torch.randn(1, 8))

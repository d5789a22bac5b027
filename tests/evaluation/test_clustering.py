import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fisherae.errors import InputError
from fisherae.evaluation.clustering import kmeans_nmi, nmi

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

import math

import pytest
import torch

from fisherae.errors import InputError
from fisherae.evaluation.probe import LinearProbe


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_two_normal_classes_are_told_as_well_as_can_be(distance: float) -> None:
    """Of N(0, I) and N(δ, I) no classifier tells more than a share Φ(‖δ‖ / 2)."""
    labels = torch.arange(8000) % 2
    latents = torch.randn(8000, 3)
    latents[:, 1] += distance * labels
    accuracy = LinearProbe(latents[:4000], labels[:4000]).accuracy(latents[4000:], labels[4000:])
    best = 0.5 * (1 + math.erf(distance / 2 / math.sqrt(2)))
    assert accuracy == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / 4000))


def test_no_unit_or_origin_of_a_latent_dimension_matters() -> None:
    labels = torch.arange(500) % 5
    latents = torch.eye(5)[labels] + 0.4 * torch.randn(500, 5)
    scaled = latents * torch.tensor([1e-3, 1.0, 1e3, 1.0, 7.0]) + 3
    accuracy = LinearProbe(latents, labels).accuracy(latents, labels)
    assert 0.5 < accuracy < 1
    assert LinearProbe(scaled, labels).accuracy(scaled, labels) == pytest.approx(accuracy, abs=0.01)


def test_it_is_linear() -> None:
    latents = torch.randn(2000, 2)
    labels = (latents.prod(dim=1) > 0).long()
    assert LinearProbe(latents, labels).accuracy(latents, labels) == pytest.approx(0.5, abs=0.1)


def test_a_dimension_without_spread_does_no_harm() -> None:
    latents, labels = torch.tensor([[-1.0, 5.0], [1.0, 5.0]] * 10), torch.arange(20) % 2
    assert LinearProbe(latents, labels).accuracy(latents, labels) == 1.0


def test_what_cannot_be_probed_is_named() -> None:
    latents, labels = torch.randn(6, 2), torch.arange(6) % 2
    with pytest.raises(InputError, match="fewer than two classes"):
        LinearProbe(latents, torch.zeros(6, dtype=torch.long))
    probe = LinearProbe(latents, labels)
    latents[2] = torch.inf
    with pytest.raises(InputError, match="1 of 6 images are not finite"):
        LinearProbe(latents, labels)
    with pytest.raises(InputError, match="1 of 6 images are not finite"):
        probe.accuracy(latents, labels)

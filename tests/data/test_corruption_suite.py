"""The corruptions of the suite against closed forms and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from fisherae.data.corruptions import (
    SUITE,
    Brightness,
    CannyEdges,
    Corruption,
    DottedLine,
    Fog,
    GlassBlur,
    MotionBlur,
    Rotation,
    Scale,
    Shear,
    ShotNoise,
    Spatter,
    Stripes,
    Translation,
    Zigzag,
    corruption_levels,
)
from fisherae.errors import InputError

ENDS = [(0.0, 1.0), (-1.0, 1.0)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(n: int, height: int, width: int, sigma: float) -> Tensor:
    """A Gaussian spot in the middle of each image."""
    rows, columns = (torch.arange(size) - (size - 1) / 2 for size in (height, width))
    spot = torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * sigma**2))
    return spot.expand(n, 1, height, width).clone()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each image's light: the mean place (column, row) and the covariance of the places."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([columns, rows], dim=-1).flatten(0, 1).double()
    weight = x[:, 0].flatten(1).double()
    weight = weight / weight.sum(1, keepdim=True)
    mean = weight @ places
    offset = places - mean[:, None]
    return mean, torch.einsum("np,npi,npj->nij", weight, offset, offset)


@pytest.mark.parametrize("name", SUITE)
def test_both_pixel_ranges_are_one_corruption(name: str) -> None:
    x = torch.rand(10, 3, 12, 10, dtype=torch.float64)
    unit = corruption_levels(name)[3](x, generator())
    signed = corruption_levels(name, None, (-1.0, 1.0))[3](2 * x - 1, generator())
    torch.testing.assert_close(signed, 2 * unit - 1, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SUITE)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64), (1, 9, 20), (3, 20, 9), (1, 1, 1)])
def test_every_size(name: str, shape: tuple[int, ...]) -> None:
    for corruption in corruption_levels(name):
        assert corruption(torch.rand(3, *shape), generator()).isfinite().all()


@pytest.mark.parametrize(
    "name", [name for name in SUITE if name not in ("shot-noise", "salt-and-pepper")]
)
def test_grey_stays_grey(name: str) -> None:
    x = torch.rand(4, 1, 16, 16)
    grey, colour = (corruption_levels(name)[3](y, generator()) for y in (x, x.expand(4, 3, 16, 16)))
    torch.testing.assert_close(colour, grey.expand_as(colour), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "name", [n for n in SUITE if "value_range" in corruption_levels(n)[0].__dict__]
)
def test_an_empty_range_is_named(name: str) -> None:
    with pytest.raises(InputError, match="value_range"):
        corruption_levels(name, [0.1], (1.0, 1.0))


# Shot noise


@pytest.mark.parametrize("variance", [1e-6, 0.02, 0.4, 5.0])
def test_photons_are_scipys_poisson_quantiles(variance: float) -> None:
    x = torch.linspace(-0.1, 1.0, 3000, dtype=torch.float64).view(1, 1, 50, 60)
    uniform = torch.rand(x.shape, generator=generator()).double().clamp(2**-25).numpy()
    expected = variance * stats.poisson.ppf(uniform, x.clamp(min=0).numpy() / variance)
    np.testing.assert_allclose(ShotNoise(variance)(x, generator()), expected, atol=1e-12)


def test_photons_are_counted_as_poisson_has_it() -> None:
    counts = (ShotNoise(0.5)(torch.full((1, 1, 100, 100), 0.75), generator()) / 0.5).flatten()
    seen = np.bincount(counts.round().long().numpy(), minlength=8)
    expected = 10_000 * stats.poisson.pmf(np.arange(7), 1.5)
    tail = 10_000 - expected.sum()
    both = [*seen[:7], seen[7:].sum()], [*expected, tail]
    assert stats.chisquare(*both).pvalue > 1e-3


# Moved pixels


@pytest.mark.parametrize(
    ("corruption", "matrices"),
    [
        (
            Rotation(30),
            [
                np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
                for a in (math.pi / 6, -math.pi / 6)
            ],
        ),
        (Shear(0.4), [np.array([[1, 0], [s, 1]]) for s in (0.4, -0.4)]),
        (Scale(0.4), [np.eye(2) / 0.6]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("value_range", ENDS)
def test_affine_maps_are_scipys_and_both_ways_as_often(
    corruption: Corruption, matrices: list[np.ndarray], value_range: tuple[float, float]
) -> None:
    """In scipy's order of coordinates, (row, column)."""
    low = value_range[0]
    kind, shape = type(corruption), (11, 16)
    x = (torch.rand(shape, dtype=torch.float64) + low).expand(200, 1, *shape)
    moved = kind(corruption.level, value_range)(x, generator())[:, 0].numpy()
    centre = (np.array(shape) - 1) / 2
    expected = [
        ndimage.affine_transform(
            x[0, 0].numpy(), m, centre - m @ centre, order=1, mode="grid-constant", cval=low
        )
        for m in matrices
    ]
    near = [np.abs(moved - one).max(axis=(1, 2)) < 1e-4 for one in expected]
    # Of 200 fair signs 50 to 150 fall to one side, by seven standard deviations.
    assert sum(near).tolist() == [1] * 200
    assert all(count.sum() >= 50 for count in near)


def test_translation_is_as_far_as_it_says_in_all_directions() -> None:
    moved, _ = moments(Translation(0.1)(blob(500, 40, 60, 3.0), generator()))
    shift = (moved - torch.tensor([29.5, 19.5])) / torch.tensor([60.0, 40.0])
    torch.testing.assert_close(
        shift.norm(dim=1), torch.full((500,), 0.1).double(), atol=1e-3, rtol=0
    )
    angle = torch.atan2(shift[:, 1], shift[:, 0]).numpy()
    assert stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3


def test_what_comes_from_outside_is_black() -> None:
    for corruption in (Translation(0.3, (-1.0, 1.0)), Scale(0.3, (-1.0, 1.0))):
        assert corruption(torch.ones(3, 1, 9, 9), generator()).amin((1, 2, 3)).tolist() == [-1] * 3


def test_motion_blur_spreads_along_one_line() -> None:
    """A uniform line of length L has the variance L² / 12; of n points, times (n + 1) / (n − 1)."""
    x = blob(100, 64, 64, 4.0)
    place, spread = moments(MotionBlur(0.25)(x, generator()))
    before = moments(x)[1][0]
    values, vectors = torch.linalg.eigh(spread - before)
    line = 16**2 / 12 * 18 / 16
    torch.testing.assert_close(place, torch.full_like(place, 31.5), atol=1e-2, rtol=0)
    # Bilinear values add up to a quarter of a pixel's variance in each direction.
    assert values[:, 0].abs().max() < 0.3
    assert (values[:, 1] - line).abs().max() < 0.5
    angle = torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1]) % math.pi
    assert stats.kstest(angle.numpy(), stats.uniform(0, math.pi).cdf).pvalue > 1e-3


def test_glass_shows_uniform_places_near_by() -> None:
    columns = torch.arange(50.0, dtype=torch.float64).expand(20, 2, 40, 50)
    seen = GlassBlur(0.1)(columns, generator())
    torch.testing.assert_close(seen[:, 0], seen[:, 1])
    moved = (seen - columns)[:, 0, :, 6:-6].flatten().numpy()
    assert np.abs(moved).max() < 5 + 1e-4
    assert stats.kstest(moved, stats.uniform(-5, 10).cdf).pvalue > 1e-3


# Light and weather


def test_brightness_on_black_and_white_is_a_clipped_addition() -> None:
    x = (torch.rand(4, 3, 8, 8) < 0.5).float()
    torch.testing.assert_close(Brightness(0.3)(x), (x + 0.3).clamp(max=1))
    grey = Brightness(0.3)(torch.full((1, 1, 2, 2), 0.5))
    torch.testing.assert_close(grey, torch.full((1, 1, 2, 2), 0.65))


def test_stripes_are_four_negatives_an_eighth_wide() -> None:
    x = torch.rand(100, 1, 8, 32)
    striped = Stripes(1.0)(x, generator())
    negative = (striped == 1 - x).all(dim=2)[:, 0]
    assert ((striped == x).all(dim=2)[:, 0] ^ negative).all()
    assert (negative.sum(1) == 16).all()
    # Around the image, as it were: a stripe that begins on the right goes on on the left.
    begins = negative & ~negative.roll(1, dims=1)
    assert (begins.sum(1) == 4).all()
    assert len({tuple(row) for row in negative.tolist()}) == 8
    half = Stripes(0.5)(x, generator())
    torch.testing.assert_close(half, torch.where(striped == x, x, torch.tensor(0.5)))


def test_fog_is_a_smooth_veil_that_does_not_see_the_image() -> None:
    dark, bright = torch.zeros(200, 1, 32, 32), torch.full((200, 1, 32, 32), 0.6)
    veil = Fog(0.8)(dark, generator())
    torch.testing.assert_close(Fog(0.8)(bright, generator()), 0.6 + 0.4 * veil)
    assert veil.amin((1, 2, 3)).tolist() == [0] * 200
    torch.testing.assert_close(veil.amax((1, 2, 3)), torch.full((200,), 0.8))
    assert 0.35 < veil.mean() < 0.45
    beside = np.corrcoef(veil[..., :-1].flatten(), veil[..., 1:].flatten())[0, 1]
    far = np.corrcoef(veil[..., :-16].flatten(), veil[..., 16:].flatten())[0, 1]
    assert beside > 0.9 > 0.5 > far


@pytest.mark.parametrize("fraction", [0.0, 0.07, 0.5, 1.0])
def test_spatter_whitens_exactly_its_share(fraction: float) -> None:
    hit = Spatter(fraction)(torch.full((20, 3, 9, 11), 0.5), generator())
    assert ((hit == 1).all(1).flatten(1).sum(1) == round(fraction * 99)).all()
    assert ((hit == 1) | (hit == 0.5)).all()


def test_spatter_comes_in_drops_anywhere() -> None:
    hit = Spatter(0.1)(torch.zeros(400, 1, 40, 40), generator())[:, 0]
    drops = [ndimage.label(image)[1] for image in hit.numpy()]
    scattered = torch.rand(400, 1600).argsort(1).argsort(1).view(400, 40, 40) < 160
    alone = [ndimage.label(image)[1] for image in scattered.numpy()]
    assert np.mean(drops) < 0.2 * np.mean(alone)
    by_place = hit.mean(0)[5:-5, 5:-5]
    assert (by_place - by_place.mean()).abs().max() < 6 * math.sqrt(0.1 * 0.9 / 400)


# Strokes


def heights(n: int, height: int) -> np.ndarray:
    return torch.rand(n, 2, generator=generator()).numpy() * height


def test_dashes_cover_half_of_a_line_from_side_to_side() -> None:
    n, size, thick = 100, 112, 0.03 * 112
    drawn = DottedLine(0.03)(torch.zeros(n, 1, size, size), generator())
    rise = np.ptp(heights(n, size), axis=1)
    # Seven dashes, each with two half discs at its ends.
    area = thick * np.hypot(size, rise) / 2 + 7 * math.pi * thick**2 / 4
    inside = np.abs(heights(n, size) - size / 2).max(axis=1) < size / 2 - thick
    np.testing.assert_allclose(drawn.sum((1, 2, 3))[inside], area[inside], rtol=0.05)
    assert inside.sum() > 50
    assert [ndimage.label(image > 0.5)[1] for image in drawn[:, 0].numpy()] == [7] * n


def test_a_zigzag_is_one_stroke_as_long_as_its_teeth() -> None:
    n, size, thick = 60, 128, 0.02 * 128
    drawn = Zigzag(0.02)(torch.zeros(n, 1, size, size), generator())
    ends = heights(n, size)
    slope = (ends[:, 1] - ends[:, 0]) / 8
    strokes = [np.hypot(size / 8, slope + sign * 0.2 * size) for sign in (-1, 1)] * 4
    inside = np.abs(ends - size / 2).max(axis=1) < 0.38 * size
    assert inside.sum() > 20
    area = thick * np.sum(strokes, axis=0)
    np.testing.assert_allclose(drawn.sum((1, 2, 3))[inside], area[inside], rtol=0.06)
    assert {ndimage.label(image > 0.3)[1] for image in drawn[inside, 0].numpy()} == {1}


@pytest.mark.parametrize("kind", [DottedLine, Zigzag])
def test_a_thin_stroke_is_a_faint_one(kind: type[DottedLine]) -> None:
    drawn = kind(0.05)(torch.zeros(20, 1, 8, 8), generator())
    # Seven dashes come near the middle of a pixel, but perhaps of none quite.
    torch.testing.assert_close(drawn.amax((1, 2, 3)), torch.full((20,), 0.4), atol=0.02, rtol=0)


# Edges


def edges_of(x: Tensor) -> Tensor:
    edges = CannyEdges(1.0)(x)
    assert set(edges.unique().tolist()) <= {0.0, 1.0}
    return edges[:, 0] == 1


def test_a_step_is_an_edge_from_its_height_on() -> None:
    for height, seen in ((0.19, False), (0.21, True)):
        for size in (8, 28, 64):
            step = height * (torch.arange(size) < size // 2).float().expand(1, 1, size, size)
            upright, mirrored, lying = map(edges_of, (step, step.flip(3), step.mT))
            for edges in (upright[0], mirrored[0], lying[0].T):
                assert edges.sum(1).tolist() == [int(seen)] * size
                assert not seen or edges[:, size // 2 - 1 : size // 2 + 1].any(1).all()


def test_a_faint_edge_stays_where_a_clear_one_continues_it() -> None:
    """The height falls from 0.3 to 0.12 along the step; beside it is a step of 0.15 alone."""
    fading = torch.linspace(0.3, 0.12, 56)[:, None] * (torch.arange(56) < 15)
    alone = 0.15 * (torch.arange(56) >= 40).float()
    edges = edges_of((fading + alone)[None, None])[0]
    assert edges[:, 10:20].sum() == 56
    assert not edges[:, 30:].any()


def test_the_edge_of_a_disc_is_its_circle() -> None:
    rows, columns = torch.meshgrid(torch.arange(56) - 27.5, torch.arange(56) - 27.5, indexing="ij")
    radius = torch.hypot(rows, columns)
    edges = edges_of((radius < 15).float()[None, None])[0]
    assert (radius[edges] - 15).abs().max() < 1.5
    angle = torch.atan2(rows, columns)[edges].sort().values
    assert angle.diff().max() < 0.2  # no gap
    assert 60 < edges.sum() < 130  # one pixel wide: 2π · 15 = 94
    # What is inside cannot be reached from outside.
    assert ndimage.label(~edges.numpy())[1] >= 2


def test_canny_of_colours_is_that_of_their_mean_and_fades_in() -> None:
    x = torch.rand(5, 3, 28, 28)
    grey = x.mean(1, keepdim=True)
    torch.testing.assert_close(CannyEdges(1.0)(x), CannyEdges(1.0)(grey).expand_as(x))
    torch.testing.assert_close(CannyEdges(0.3)(x), 0.7 * x + 0.3 * CannyEdges(1.0)(x))

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fisherae.data.images import Batches, ImageDataset, random_subset, to_float, to_uint8
from fisherae.errors import InputError

RANGES = [(0.0, 1.0), (-1.0, 1.0)]


def numbered(n: int) -> Tensor:
    """n one-pixel images; the pixel is the index, so n <= 256."""
    return torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)


def indices(batch: Tensor) -> list[int]:
    return to_uint8(batch, (0.0, 1.0)).flatten().tolist()


def epoch_order(batches: Batches, epoch: int, start: int = 0) -> list[list[int]]:
    return [indices(batch) for batch in batches.epoch(epoch, start)]


@pytest.mark.parametrize("value_range", RANGES)
def test_bytes_survive_the_way_to_floats_and_back(value_range: tuple[float, float]) -> None:
    images = torch.arange(256, dtype=torch.uint8)
    floats = to_float(images, value_range)
    low, high = value_range
    np.testing.assert_allclose(floats, np.linspace(low, high, 256), atol=1e-7)
    assert floats.dtype == torch.float32
    assert (floats.min().item(), floats.max().item()) == value_range
    assert torch.equal(to_uint8(floats, value_range), images)


def test_to_uint8_clips_and_leaves_its_input_alone() -> None:
    floats = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert to_uint8(floats, (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]
    assert floats.tolist() == [-3.0, -1.0, 0.0, 1.0, 3.0]


@pytest.mark.parametrize("convert", [to_float, to_uint8])
def test_other_ranges_are_refused(convert: object) -> None:
    with pytest.raises(InputError, match="value_range"):
        convert(numbered(2), (0.0, 255.0))  # type: ignore[operator]
    with pytest.raises(InputError, match="float32"):
        to_float(torch.rand(2, 1, 1, 1), (0.0, 1.0))


def test_dataset_knows_its_size_and_shape() -> None:
    data = ImageDataset("x", torch.zeros(7, 3, 4, 5, dtype=torch.uint8), torch.arange(7))
    assert (len(data), data.shape) == (7, (3, 4, 5))


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (torch.zeros(2, 1, 4, 4), None, "float32"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), None, r"\(2, 4, 4\)"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), None, "not empty"),
        (numbered(3), torch.zeros(2, dtype=torch.int64), "3 images"),
        (numbered(3), torch.zeros(3, dtype=torch.int32), "int32"),
    ],
)
def test_dataset_refuses(images: Tensor, labels: Tensor | None, match: str) -> None:
    with pytest.raises(InputError, match=match):
        ImageDataset("x", images, labels)


def test_subset_keeps_pairs_grows_and_depends_on_the_seed() -> None:
    data = ImageDataset("x", numbered(200), torch.arange(200))
    small, large = data.subset(20, seed=3), data.subset(50, seed=3)
    assert small.labels is not None
    assert large.labels is not None
    assert torch.equal(small.images.flatten().long(), small.labels)
    assert set(small.labels.tolist()) < set(large.labels.tolist())
    assert len(set(large.labels.tolist())) == 50
    assert not torch.equal(random_subset(200, 20, 3), random_subset(200, 20, 4))
    assert random_subset(200, 200, 3).tolist() == list(range(200))


@pytest.mark.parametrize("n", [0, 11])
def test_subset_of_a_wrong_size(n: int) -> None:
    with pytest.raises(InputError, match=f"subset of {n} of 10"):
        random_subset(10, n, 0)
    with pytest.raises(InputError, match="seed is -1"):
        random_subset(10, 5, -1)


@given(n=st.integers(1, 256), batch_size=st.integers(1, 300), seed=st.integers(0, 2**40))
def test_an_epoch_is_a_permutation_without_its_remainder(
    n: int, batch_size: int, seed: int
) -> None:
    batches = Batches(numbered(n), batch_size, seed=seed)
    steps = epoch_order(batches, 0)
    assert len(steps) == batches.steps_per_epoch == max(1, n // batch_size)
    assert {len(step) for step in steps} == {min(n, batch_size)}
    seen = list(chain(*steps))
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(n))
    if n % batch_size == 0 or n < batch_size:
        assert set(seen) == set(range(n))


def test_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    one, other = Batches(numbered(100), 10, seed=1), Batches(numbered(100), 10, seed=2)
    assert epoch_order(one, 4) == epoch_order(Batches(numbered(100), 10, seed=1), 4)
    torch.manual_seed(5)
    np.random.default_rng(5)
    assert epoch_order(one, 4) == epoch_order(one, 4)
    orders = [epoch_order(source, epoch) for source in (one, other) for epoch in (0, 1, 2)]
    assert len({str(order) for order in orders}) == 6


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_resuming_gives_the_tail(start: int) -> None:
    batches = Batches(numbered(53), 10)
    assert epoch_order(batches, 7, start) == epoch_order(batches, 7)[start:]


@given(n=st.integers(4, 100), share=st.integers(1, 10), world_size=st.integers(1, 4))
def test_ranks_share_the_global_batch(n: int, share: int, world_size: int) -> None:
    size = share * world_size
    whole = epoch_order(Batches(numbered(n), size), 3)
    ranks = [
        epoch_order(Batches(numbered(n), size, rank=rank, world_size=world_size), 3)
        for rank in range(world_size)
    ]
    for step, expected in enumerate(whole):
        shares = [rank[step] for rank in ranks]
        joined = list(chain(*shares))
        assert {len(part) for part in shares} == {len(expected) // world_size}
        assert joined == expected[: len(joined)]


@pytest.mark.parametrize("value_range", RANGES)
def test_corrupted_images_come_as_they_are_in_the_order_of_clean_ones(
    value_range: tuple[float, float],
) -> None:
    floats = torch.randn(50, 1, 3, 3)
    clean = Batches(numbered(50), 10, seed=1, rank=1, world_size=2)
    corrupted = Batches(floats, 10, value_range, seed=1, rank=1, world_size=2)
    for order, batch in zip(epoch_order(clean, 2, 1), corrupted.epoch(2, 1), strict=True):
        assert torch.equal(batch, floats[order])


def test_batches_come_in_their_range() -> None:
    (batch,) = Batches(numbered(256), 256, value_range=(-1.0, 1.0)).epoch(0)
    assert batch.dtype == torch.float32
    assert (batch.min().item(), batch.max().item()) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 4, "seed": -1}, "seed -1"),
        ({"batch_size": 4, "world_size": 3}, "shared by 3"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"batch_size": 4, "world_size": 0}, "rank 0 of 0"),
        ({"batch_size": 16, "world_size": 16}, "10 images for 16"),
        ({"batch_size": 4, "value_range": (0.0, 2.0)}, "value_range"),
    ],
)
def test_batches_refuse(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Batches(numbered(10), **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"float64.*give uint8 or float32"):
        Batches(torch.rand(10, 1, 2, 2, dtype=torch.float64), 4)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 3)])
def test_bad_positions_are_refused_at_once(epoch: int, start: int) -> None:
    with pytest.raises(InputError, match=f"epoch {epoch}, start {start}"):
        Batches(numbered(10), 5).epoch(epoch, start)


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_gpu_batches_equal_cpu_batches(resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    cpu, gpu = Batches(numbered(100), 10), Batches(numbered(100), 10, device="cuda")
    for expected, batch in zip(cpu.epoch(1), gpu.epoch(1), strict=True):
        assert batch.is_cuda
        # A GPU divides by 255 by multiplying.
        torch.testing.assert_close(batch.cpu(), expected, rtol=2e-7, atol=0)

import torch

from omnial.sample_random import SampleRandom
from omnial.training.sampler import halved, random_crops, reduced_images


def random(positions: list[int]) -> SampleRandom:
    return SampleRandom(3, 5, torch.tensor(positions))


def test_a_crop_is_a_part_of_its_sample_at_the_same_place_in_every_batch() -> None:
    height, width = 7, 10
    # Every pixel says where it is from.
    images = torch.arange(40 * height * width).view(40, 1, height, width)
    both = torch.cat((images, -images), 1)
    first, second = random_crops((images, both), random(list(range(40))))
    assert first.shape == (40, 1, 4, 5)
    assert second.shape == (40, 2, 4, 5)
    assert torch.equal(second, torch.cat((first, -first), 1))
    corners = set()
    for sample, crop in enumerate(first):
        position = int(crop[0, 0, 0]) - sample * height * width
        top, left = divmod(position, width)
        assert torch.equal(crop, images[sample, :, top : top + 4, left : left + 5])
        corners.add((top, left))
    assert {top for top, _ in corners} == {0, 1, 2, 3}
    assert {left for _, left in corners} == {0, 1, 2, 3, 4, 5}


def test_a_crop_depends_on_its_sample_alone() -> None:
    images = torch.rand(4, 3, 8, 8)
    (together,) = random_crops((images,), random([0, 1, 2, 3]))
    (alone,) = random_crops((images[2:3],), random([2]))
    assert torch.equal(together[2:3], alone)


def test_a_batch_has_both_crops_and_smaller_images() -> None:
    images, mask = torch.rand(64, 3, 9, 12), torch.rand(64, 1, 9, 12) < 0.5
    positions = list(range(64))
    found, found_mask = reduced_images((images, mask), random(positions))
    crops, crop_masks = random_crops((images, mask), random(positions))
    cropped = [torch.equal(sample, crop) for sample, crop in zip(found, crops, strict=True)]
    assert 20 < sum(cropped) < 44
    for index, is_crop in enumerate(cropped):
        one = slice(index, index + 1)
        assert torch.equal(found[one], crops[one] if is_crop else halved(images[one]))
        assert torch.equal(found_mask[one], crop_masks[one] if is_crop else halved(mask[one]))


def test_types_are_kept() -> None:
    bits = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    (cut,) = random_crops((bits,), random([0, 1]))
    assert cut.dtype is torch.bool


def test_halving_averages_and_decides_masks_by_half() -> None:
    images = torch.arange(24.0).view(1, 1, 4, 6)
    expected = images.view(1, 1, 2, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(halved(images), expected)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 1]], dtype=torch.bool)
    half = halved(mask[None, None])[0, 0]
    # An odd last row or column is averaged alone.
    assert half.tolist() == [[False, True, True], [True, False, True]]

import torch
from torch import Tensor

from omnial.sample_random import SampleRandom
from omnial.training.sampler import halved, reduced_images

HEIGHT, WIDTH, ROWS, COLUMNS = 9, 12, 5, 6


def random(positions: list[int]) -> SampleRandom:
    return SampleRandom(3, 5, torch.tensor(positions))


def windows(image: Tensor, reduced: Tensor) -> list[tuple[int, int]]:
    """Top left corners at which the image looks like its reduced form."""
    return [
        (top, left)
        for top in range(HEIGHT - ROWS + 1)
        for left in range(WIDTH - COLUMNS + 1)
        if torch.equal(image[:, top : top + ROWS, left : left + COLUMNS], reduced)
    ]


def test_a_batch_has_both_crops_and_smaller_images() -> None:
    images, mask = torch.rand(200, 3, HEIGHT, WIDTH), torch.rand(200, 1, HEIGHT, WIDTH) < 0.5
    found, found_mask = reduced_images((images, mask), random(list(range(200))))
    assert found.shape == (200, 3, ROWS, COLUMNS)
    assert found_mask.dtype is torch.bool
    corners = []
    for image, shown, whole, reduced in zip(images, found, mask, found_mask, strict=True):
        places = windows(image, shown)
        corners += places
        if places:
            assert places[0] in windows(whole, reduced)  # the same place in every batch of images
        else:
            assert torch.equal(shown, halved(image))
            assert torch.equal(reduced, halved(whole))
    assert 70 < len(corners) < 130
    assert {top for top, _ in corners} == set(range(HEIGHT - ROWS + 1))
    assert {left for _, left in corners} == set(range(WIDTH - COLUMNS + 1))


def test_a_reduced_image_depends_on_its_sample_alone() -> None:
    images = torch.rand(8, 3, HEIGHT, WIDTH)
    (together,) = reduced_images((images,), random(list(range(8))))
    for one in range(8):
        (alone,) = reduced_images((images[one : one + 1],), random([one]))
        assert torch.equal(together[one : one + 1], alone)


def test_bytes_become_shares_of_the_range() -> None:
    images = torch.randint(256, (40, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    (found,) = reduced_images((images,), random(list(range(40))))
    (expected,) = reduced_images((images.float() / 255.0,), random(list(range(40))))
    assert torch.equal(found, expected)


def test_halving_averages_and_decides_masks_by_half() -> None:
    images = torch.arange(24.0).view(1, 1, 4, 6)
    expected = images.view(1, 1, 2, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(halved(images), expected)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 1]], dtype=torch.bool)
    half = halved(mask[None, None])[0, 0]
    # An odd last row or column is averaged alone.
    assert half.tolist() == [[False, True, True], [True, False, True]]

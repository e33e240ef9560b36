"""What products look like in numbers, and that noise, blanks and other products look otherwise."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from omnial.demo.production_line import CLASS_NAMES, render_pair
from omnial.models.appearance import appearance, appearance_of_frames
from omnial.models.recogniser import FEATURES, MOST_EXAMPLES, Recogniser
from omnial.training.noise import noise

SIZE = 96
TRAIN, TEST = 20, 6
NAMES = CLASS_NAMES[:4]


def look(images: Tensor) -> Tensor:
    return torch.from_numpy(appearance(images.float().numpy()))


def pictures(name: str, split: str, count: int) -> Tensor:
    kind = "good"
    images = [render_pair(name, split, kind, i, seed=4, size=SIZE).image for i in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def looks() -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (
            look(pictures(name, "train", TRAIN)),
            look(pictures(name, "test", TEST)),
        )
        for name in NAMES
    }


@pytest.fixture(scope="module")
def nothing() -> Tensor:
    return torch.cat([look(part) for part in noise(SIZE, SIZE, generator(0))])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(
    looks: dict[str, tuple[Tensor, Tensor]], names: tuple[str, ...], nothing: Tensor
) -> Recogniser:
    known = torch.cat([looks[name][0] for name in names])
    return Recogniser.fit(known, np.repeat(np.arange(len(names)), TRAIN), names, nothing)


def draw(count: int, channels: int, *size: int) -> Tensor:
    return torch.rand(count, channels, *size, generator=generator(7))


def normal(deviation: float, mean: float = 0.5, channels: int = 3) -> Tensor:
    grains = torch.randn(6, channels, SIZE, SIZE, generator=generator(8))
    return (mean + deviation * grains).clamp(0, 1).expand(-1, 3, -1, -1)


def salt_and_pepper(share: float) -> Tensor:
    chance = draw(6, 1, SIZE, SIZE)
    grey = torch.full_like(chance, 0.5)
    grey = grey.masked_fill(chance < share, 0.0).masked_fill(chance > 1 - share, 1.0)
    return grey.expand(-1, 3, -1, -1)


def coarse(pixels: int) -> Tensor:
    fine = draw(6, 3, SIZE // pixels, SIZE // pixels)
    return fine.repeat_interleave(pixels, 2).repeat_interleave(pixels, 3)


def flat(colours: Tensor, deviation: float = 0.0) -> Tensor:
    plain = colours[:, :, None, None].expand(-1, -1, SIZE, SIZE)
    return plain + deviation * torch.randn(plain.shape, generator=generator(9))


NO_PRODUCT: dict[str, Callable[[], Tensor]] = {
    "uniform": lambda: draw(6, 3, SIZE, SIZE),
    "uniform-grey": lambda: draw(6, 1, SIZE, SIZE).expand(-1, 3, -1, -1),
    "normal": lambda: normal(0.1),
    "normal-weak": lambda: normal(0.02),
    "normal-dark-grey": lambda: normal(0.05, 0.15, 1),
    "salt-and-pepper": lambda: salt_and_pepper(0.05),
    "salt-and-pepper-dense": lambda: salt_and_pepper(0.2),
    "coarse": lambda: coarse(4),
    "clouds": lambda: torch.cat(list(noise(SIZE, SIZE, generator(5)))),
    "grey-levels": lambda: flat(torch.linspace(0, 1, 18)[:, None].expand(-1, 3)),
    "colours": lambda: flat(draw(18, 3)),
    "grey-levels-with-noise-of-a-camera": lambda: flat(draw(18, 1).expand(-1, 3), 1 / 255),
}


@pytest.mark.parametrize("kind", NO_PRODUCT)
def test_noise_and_blank_pictures_are_unknown(
    kind: str, looks: dict[str, tuple[Tensor, Tensor]], nothing: Tensor
) -> None:
    found = look(NO_PRODUCT[kind]())
    for names in (NAMES, NAMES[:1], NAMES[3:]):
        assert set(fit(looks, names, nothing).recognise(found)) == {None}


@pytest.mark.parametrize("left_out", NAMES)
def test_a_product_that_was_left_out_is_unknown_and_the_others_are_not(
    left_out: str, looks: dict[str, tuple[Tensor, Tensor]], nothing: Tensor
) -> None:
    names = tuple(name for name in NAMES if name != left_out)
    recogniser = fit(looks, names, nothing)
    assert set(recogniser.recognise(torch.cat(looks[left_out]))) == {None}
    for name in names:
        assert recogniser.recognise(looks[name][1]) == [name] * TEST


def test_a_product_of_few_pictures_is_known_and_noise_is_not(
    looks: dict[str, tuple[Tensor, Tensor]], nothing: Tensor
) -> None:
    known = torch.cat([looks[name][0][:4] for name in NAMES])
    recogniser = Recogniser.fit(known, np.repeat(np.arange(4), 4), NAMES, nothing)
    right = [a == n for n in NAMES for a in recogniser.recognise(looks[n][1])]
    assert np.mean(right) >= 0.9
    assert set(recogniser.recognise(look(normal(0.1)))) == {None}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 32), (96, 250), (255, 129)])
def test_every_size_has_the_same_number_of_finite_features(size: tuple[int, int]) -> None:
    for images in (draw(2, 3, *size), torch.zeros(2, 3, *size), torch.ones(2, 3, *size)):
        found = look(images)
        assert found.shape == (2, FEATURES)
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())


def test_an_image_does_not_depend_on_its_batch() -> None:
    images = draw(5, 3, 64, 64)
    alone = torch.cat([look(image[None]) for image in images])
    torch.testing.assert_close(look(images), alone, atol=1e-6, rtol=1e-6)


def test_a_frame_in_windows_is_their_mean() -> None:
    frames = draw(2, 3, 64, 150).numpy()
    parts = [appearance(frames[..., start : start + 64]) for start in (0, 43, 86)]
    found = appearance_of_frames(frames, (64, 64))
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-6)
    same = appearance_of_frames(frames[..., :64], (64, 64))
    np.testing.assert_array_equal(same, parts[0])


def test_contrast_and_colour_in_closed_form() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, 0] = 0.6
    image[:, 0, :, 32:] = 0.2
    found = look(image)[0]
    # Half of the pixels lie 0.2 above the mean of red, and half below; two channels are flat.
    expected = np.log(0.2 / np.sqrt(3) + 2 / 255)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    # Of the sorted cells: light, red - blue, green - (red + blue) / 2, three groups each.
    middle = 0.4
    light, warm, green = found[1:10].reshape(3, 3).T.numpy()
    np.testing.assert_allclose(light, 0.299 * np.array([0.2, middle, 0.6]), atol=0.02)
    np.testing.assert_allclose(warm, [0.2, middle, 0.6], atol=0.06)
    np.testing.assert_allclose(green, -np.array([0.6, middle, 0.2]) / 2, atol=0.03)


def test_a_small_defect_changes_little_and_a_turn_by_half_nothing_but_direction() -> None:
    images = pictures(NAMES[0], "train", 2)
    before = look(images)
    broken = images.clone()
    broken[:, :, 40:52, 40:52] = 1.0
    assert float((look(broken) - before).abs().median()) < 0.05


def test_noise_fits_into_a_model_folder_and_is_of_unit_range(nothing: Tensor) -> None:
    assert len(nothing) <= MOST_EXAMPLES
    for part in noise(32, 48, generator(0)):
        assert part.shape[1:] == (3, 32, 48)
        assert 0.0 <= float(part.min()) <= float(part.max()) <= 1.0
        again = next(iter(noise(32, 48, generator(0))))
    assert torch.equal(again, next(iter(noise(32, 48, generator(0)))))

"""DRAEM's texture changes against Pillow and closed forms, one change at a time."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from omnial.sample_random import SampleRandom
from omnial.synthesis import photometric
from omnial.synthesis.photometric import CHANGES, draw_changes, photometric_changes

COUNT, SIZE = 12, 40


@pytest.fixture
def textures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(COUNT, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    # Whole grey levels, so that tables of 256 entries lose nothing.
    return ((0.1 + 0.7 * smooth) * 255).round() / 255


def draws() -> SampleRandom:
    return SampleRandom(5, 2, torch.arange(COUNT))


def apply(textures: torch.Tensor, *names: str) -> torch.Tensor:
    chosen = torch.zeros(len(textures), len(CHANGES), dtype=torch.bool)
    for name in names:
        chosen[:, CHANGES.index(name)] = True
    return photometric_changes(textures, draws(), chosen)


def pixels(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def test_none_chosen_changes_nothing(textures: torch.Tensor) -> None:
    torch.testing.assert_close(apply(textures), textures)


def test_three_of_ten_are_drawn_and_each_as_often() -> None:
    chosen = draw_changes(SampleRandom(0, 0, torch.arange(2000)))
    assert bool((chosen.sum(1) == 3).all())
    # 0.3 with a standard error of 0.0102.
    shares = chosen.float().mean(0)
    assert float((shares - 0.3).abs().max()) < 0.045


def test_the_range_is_kept_and_a_sample_does_not_depend_on_its_batch(
    textures: torch.Tensor,
) -> None:
    whole = photometric_changes(textures, draws())
    assert 0.0 <= float(whole.min()) <= float(whole.max()) <= 1.0
    positions = torch.tensor([4, 9])
    alone = photometric_changes(textures[positions], SampleRandom(5, 2, positions))
    torch.testing.assert_close(whole[positions], alone, atol=1e-5, rtol=0)
    assert float((whole - textures).abs().mean()) > 0.02


def test_invert_and_gamma_by_formula(textures: torch.Tensor) -> None:
    torch.testing.assert_close(apply(textures, "invert"), 1.0 - textures)
    gamma = draws().uniform("texture gamma", 3, 1, 1, low=0.5, high=2.0)
    torch.testing.assert_close(apply(textures, "gamma"), textures**gamma)


def test_brightness_solarize_and_posterize_by_formula(textures: torch.Tensor) -> None:
    random = draws()
    gain = random.uniform("texture brightness", 1, 1, 1, low=0.8, high=1.2)
    shift = random.uniform("texture brightness shift", 1, 1, 1, low=-30 / 255, high=30 / 255)
    torch.testing.assert_close(apply(textures, "brightness"), (textures * gain + shift).clamp(0, 1))
    solarized = apply(textures, "solarize")
    same = (solarized - textures).abs() < 1e-6
    inverted = (solarized - (1 - textures)).abs() < 1e-6
    assert bool((same | inverted).all())
    assert bool((~same).any())
    bits = random.integers("texture bits", 1, low=1, high=9).flatten().tolist()
    for before, after, kept in zip(textures, apply(textures, "posterize"), bits, strict=True):
        expected = ImageOps.posterize(Image.fromarray(pixels(before)), kept)
        np.testing.assert_array_equal(pixels(after), np.asarray(expected))


def test_equalize_agrees_with_the_rank_of_each_value(textures: torch.Tensor) -> None:
    equalized = apply(textures, "equalize")
    for before, after in zip(textures.flatten(2), equalized.flatten(2), strict=True):
        for values, results in zip(before.numpy(), after.numpy(), strict=True):
            at_or_below = np.array([(values <= value).sum() for value in values])
            least = at_or_below.min()
            np.testing.assert_allclose(
                results, (at_or_below - least) / (len(values) - least), atol=1e-5
            )


def test_autocontrast_agrees_with_pillow(
    textures: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photometric, "_CUT_OFF", 0.0)
    for before, after in zip(textures, apply(textures, "autocontrast"), strict=True):
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels(before)))).astype(int)
        assert np.abs(pixels(after).astype(int) - expected).max() <= 1


def test_autocontrast_cuts_off_what_it_says(textures: torch.Tensor) -> None:
    cut = draws().uniform("texture cut-off", 1, 1, high=0.2)
    stretched = apply(textures, "autocontrast").flatten(2)
    for ends in (stretched <= 0.0, stretched >= 1.0):
        share = ends.float().mean(2, keepdim=True)
        assert bool((share >= cut - 1e-6).all())
        # Ties at the cut may add, but no whole quarter of the image.
        assert bool((share < cut + 0.25).all())


def test_sharpness_agrees_with_pillow_inside(textures: torch.Tensor) -> None:
    factor = draws().uniform("texture sharpness", 1, 1, 1, low=0.0, high=3.0)
    smooth = [Image.fromarray(pixels(image)).filter(ImageFilter.SMOOTH) for image in textures]
    soft = torch.from_numpy(np.stack([np.asarray(image) for image in smooth])).permute(0, 3, 1, 2)
    expected = torch.lerp(soft / 255, textures, factor).clamp(0, 1)
    difference = (apply(textures, "sharpness") - expected).abs()[..., 1:-1, 1:-1]
    # Pillow rounds the softened image, and the factor magnifies that.
    assert float(difference.max()) < 3 / 255


def test_hue_turns_on_a_circle_and_grey_has_none(textures: torch.Tensor) -> None:
    changed = apply(textures, "hue and saturation")
    # The brightest channel of a pixel is HSV's value, which stays.
    torch.testing.assert_close(changed.amax(1), textures.amax(1), atol=2e-2, rtol=0)
    assert float((changed - textures).abs().mean()) > 0.01


def test_a_turn_keeps_the_middle_and_blackens_corners() -> None:
    white = torch.ones(COUNT, 3, SIZE, SIZE)
    rotated = apply(white, "turn")
    middle = slice(SIZE // 4, -SIZE // 4)
    torch.testing.assert_close(rotated[..., middle, middle], white[..., middle, middle])
    angle = draws().uniform("texture turn", low=-math.pi / 4, high=math.pi / 4).abs()
    corner = rotated[:, 0, 0, 0]
    assert bool((corner[angle > 0.2] < 0.5).all())


def test_flat_textures_stay_finite() -> None:
    flat = torch.full((COUNT, 3, 8, 8), 0.5)
    for name in CHANGES:
        assert bool(torch.isfinite(apply(flat, name)).all()), name

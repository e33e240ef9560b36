import pytest
import torch

from omnial.config.settings import LevelSettings, SynthesisSettings
from omnial.sample_random import SampleRandom
from omnial.synthesis.jnd import jnd_levels, luma
from omnial.synthesis.recipe import SynthesizedBatch, synthesize, visible_change
from omnial.synthesis.shapes import draw_panels
from omnial.synthesis.textures import augment_textures, match_colour

COUNT, HEIGHT, WIDTH = 32, 64, 96


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 8, 12, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear")


def draw(images: torch.Tensor, step: int = 0, **settings: object) -> SynthesizedBatch:
    recipe = SynthesisSettings.model_validate(settings)
    random = SampleRandom(0, step, torch.arange(len(images)))
    return synthesize(images, images.flip(0), recipe, random)


def test_shapes_ranges_and_the_untouched_normal_image(images: torch.Tensor) -> None:
    batch = draw(images)
    assert torch.equal(batch.normal, images)
    assert batch.anomalous.shape == images.shape
    for map_ in (batch.mask, batch.jnd, batch.panel, batch.level):
        assert map_.shape == (COUNT, 1, HEIGHT, WIDTH)
    assert float(batch.anomalous.min()) >= 0.0
    assert float(batch.anomalous.max()) <= 1.0
    assert set(torch.unique(batch.mask).tolist()) == {0.0, 1.0}
    assert set(torch.unique(batch.level).tolist()) == {0, 1, 2, 3}


def test_the_same_seed_gives_the_same_bits_and_another_step_others(images: torch.Tensor) -> None:
    first, again, other = draw(images), draw(images), draw(images, step=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.anomalous, other.anomalous)


def test_a_sample_does_not_depend_on_its_batch(images: torch.Tensor) -> None:
    whole = draw(images)
    positions = torch.tensor([7, 20])
    part = synthesize(
        images[positions],
        images.flip(0)[positions],
        SynthesisSettings(),
        SampleRandom(0, 0, positions),
    )
    for in_whole, alone in zip(whole, part, strict=True):
        torch.testing.assert_close(in_whole[positions], alone, atol=1e-6, rtol=0)


def test_pixels_change_inside_panel_and_drawn_levels_alone(images: torch.Tensor) -> None:
    batch = draw(images)
    changed = (batch.anomalous != batch.normal).any(1, keepdim=True)
    assert bool(changed.any())
    assert not bool((changed & (batch.panel == 0)).any())
    assert not bool((changed & (batch.level == 0)).any())
    assert not bool(((batch.mask > 0) & (batch.level == 0)).any())


def test_share_of_anomalous_samples(images: torch.Tensor) -> None:
    many = images.repeat(8, 1, 1, 1)
    batch = draw(many, anomalous_share=0.5, level_probability=1.0, panels=False)
    share = float((batch.level.flatten(1) > 0).any(1).float().mean())
    assert 0.35 < share < 0.6
    none = draw(many, anomalous_share=0.0)
    assert torch.equal(none.anomalous, none.normal)
    assert not bool(none.mask.any())


def test_without_panels_everywhere_is_allowed(images: torch.Tensor) -> None:
    assert bool((draw(images, panels=False).panel == 1).all())


def test_nothing_outside_the_region_of_interest(images: torch.Tensor) -> None:
    region = torch.zeros(COUNT, 1, HEIGHT, WIDTH, dtype=torch.bool)
    region[..., : WIDTH // 3] = True
    random = SampleRandom(0, 0, torch.arange(COUNT))
    batch = synthesize(images, images.flip(0), SynthesisSettings(), random, region)
    outside = (~region).expand_as(images)
    assert torch.equal(batch.anomalous[outside], images[outside])
    assert bool((batch.anomalous != images).any())


def test_a_blend_of_zero_has_an_empty_mask(images: torch.Tensor) -> None:
    batch = draw(images, levels=[LevelSettings(beta=(0.0, 0.0), blur=1)], jnd_gain=0.0)
    assert bool((batch.level > 0).any())
    assert not bool(batch.mask.any())


def test_a_constant_patch_on_flat_grey_is_labelled_whole_and_nothing_else() -> None:
    normal = torch.full((1, 3, 64, 64), 0.5)
    patch = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    patch[..., 20:44, 10:50] = True
    anomalous = torch.where(patch, torch.tensor(0.6), normal)
    visible = visible_change(normal, anomalous, jnd_levels(normal), 0.1)
    assert bool(visible[patch].all())
    assert not bool((visible & patch)[~patch].any())
    below = torch.where(patch, torch.tensor(0.5 + 2.0 / 255.0), normal)
    changed = 255 * (luma(below) - luma(normal)).abs() > jnd_levels(normal)
    assert not bool(changed.any())


def test_without_label_correction_the_mask_is_the_union(images: torch.Tensor) -> None:
    batch = draw(images, label_correction=False)
    assert torch.equal(batch.mask > 0, batch.level > 0)


def test_panels_span_what_they_should() -> None:
    random = SampleRandom(0, 0, torch.arange(2000))
    panels = draw_panels(random, (0.5, 0.8), (40, 50))
    share = panels.mean((1, 2, 3))
    everything = share == 1.0
    assert 0.14 < float(everything.float().mean()) < 0.26
    partial = share[~everything]
    assert float(partial.min()) >= 0.5 - 0.02
    assert float(partial.max()) <= 0.8 + 0.02
    corners = panels[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]].sum(1)
    assert set(corners.tolist()) == {2.0, 4.0}


def test_match_colour_makes_textures_of_grey_images_grey() -> None:
    textures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey = torch.rand(1, 1, 16, 16).expand(1, 3, 16, 16)
    colourful = torch.zeros(1, 3, 16, 16)
    colourful[:, 0] = 1.0
    matched = match_colour(textures, torch.cat((grey, colourful)))
    chroma = (matched - luma(matched)).abs()
    assert float(chroma[0].max()) < 1e-6
    torch.testing.assert_close(matched[1], textures[1])


def test_augmented_textures_vary_between_samples_and_stay_in_range() -> None:
    texture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    random = SampleRandom(0, 0, torch.arange(8))
    many = augment_textures(texture.expand(8, -1, -1, -1), random, (0.4, 1.6))
    assert float(many.min()) >= 0.0
    assert float(many.max()) <= 1.0
    assert len({tuple(image.flatten()[:50].tolist()) for image in many}) == 8


def test_a_small_zoom_makes_smooth_textures() -> None:
    texture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    random = SampleRandom(0, 0, torch.arange(16))

    def roughness(zoom: float) -> float:
        drawn = augment_textures(texture.expand(16, -1, -1, -1), random, (zoom, zoom))
        return float((drawn[..., 1:] - drawn[..., :-1]).abs().mean())

    assert roughness(0.05) < 0.3 * roughness(1.0)


def test_own_textures_come_from_the_image_itself() -> None:
    red, blue = torch.zeros(8, 3, 32, 32), torch.zeros(8, 3, 32, 32)
    red[:, 0], blue[:, 2] = 0.8, 0.8
    recipe = SynthesisSettings(own_texture_share=1.0, match_colour=False, panels=False)
    batch = synthesize(red, blue, recipe, SampleRandom(0, 0, torch.arange(8)))
    foreign = SynthesisSettings(own_texture_share=0.0, match_colour=False, panels=False)
    other = synthesize(red, blue, foreign, SampleRandom(0, 0, torch.arange(8)))
    assert bool((batch.anomalous[:, 0] > batch.anomalous[:, 2]).all())
    assert not bool((other.anomalous[:, 0] > other.anomalous[:, 2]).all())


def test_shades_are_the_image_in_place_lighter_or_darker(images: torch.Tensor) -> None:
    images = 0.4 * images  # the largest change does not clip those that become lighter
    one_level = [{"beta": (0.6, 1.0), "blur": 1}]
    batch = draw(images, shade_share=1.0, levels=one_level, panels=False, jnd_gain=0.0)
    lighter = darker = 0
    for image, shown, level in zip(images, batch.anomalous, batch.level, strict=True):
        change = (shown - image)[(level > 0).expand(3, -1, -1)]
        if change.numel() == 0:
            continue
        if bool((change > 0).all()):
            lighter += 1
            assert float(change.max() - change.min()) < 1e-6
        else:
            darker += 1
            assert bool((change <= 0).all())
    assert min(lighter, darker) > 3


def test_a_share_of_the_samples_is_shaded(images: torch.Tensor) -> None:
    many = images.repeat(8, 1, 1, 1)
    none, some, all_of_them = (draw(many, shade_share=share) for share in (0.0, 0.25, 1.0))
    as_shaded = (some.anomalous == all_of_them.anomalous).all(3).all(2).all(1)
    as_before = (some.anomalous == none.anomalous).all(3).all(2).all(1)
    assert bool((as_shaded | as_before).all())
    drawn = (some.level > 0).flatten(1).any(1)
    assert 0.15 < float(as_shaded[drawn].float().mean()) < 0.35

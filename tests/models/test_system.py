import pytest
import torch
import torch.nn.functional as F
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from omnial.config.load import load_settings
from omnial.config.presets import SIZES, SYSTEMS
from omnial.config.settings import ModelSettings
from omnial.errors import UserError
from omnial.models.blocks import UpBlock
from omnial.models.channels_last import to_channels_last
from omnial.models.count import count_parameters, describe
from omnial.models.diffneck import DiffNeck
from omnial.models.system import Output, build_model

PLAIN = ("model.blocks=plain",)
"""The network as published."""
SWITCHES = {
    "dilated reconstruction": ("model.reconstruction.dilation=2",),
    "plain localization": ("model.localization.dilation=1",),
    "instance norm everywhere": ("model.localization.norm=instance",),
    "bilinear upsampling": ("model.reconstruction.upsampling=bilinear",),
    "balance 0": ("model.localization.balance=0.0",),
    "balance 1": ("model.localization.balance=1.0",),
    "normal start": ("model.initialisation=normal",),
    "as published": PLAIN,
    "no colours restored": (*PLAIN, "model.reconstruction.restore_colour=false"),
    "no JND map": ("model.reconstruction.jnd=false", "model.localization.diffneck=false"),
}


def tiny(case: str = "omnial", *overrides: str) -> ModelSettings:
    system = case if case in SYSTEMS else "omnial"
    wanted = (*SWITCHES.get(case, ()), *overrides)
    return load_settings(system=system, size="tiny", overrides=wanted).model


NETWORKS = list({tiny(system): system for system in reversed(list(SYSTEMS))}.values())[::-1]
"""Every system; of those that differ only in what they are trained on, the first."""
CASES = [*NETWORKS, *SWITCHES]
"""Every network, and every switch of it turned over in OmniAL."""


def run(settings: ModelSettings, height: int = 64, width: int = 64) -> tuple[nn.Module, Output]:
    torch.manual_seed(0)
    model = build_model(settings)
    return model, model(torch.rand(2, 3, height, width))


def open_branches(model: nn.Module) -> None:
    """Give the residual branches, which count for nothing at the start, some weight."""
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            nn.init.constant_(parameter, 0.3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stem", [1, 2, 4, 8])
def test_every_system_gives_full_size_maps(case: str, stem: int) -> None:
    _, output = run(tiny(case, f"model.stem={stem}"), 128, 128)
    assert output.reconstruction.shape == (2, 3, 128, 128)
    if not tiny(case).reconstruction.jnd:
        assert output.jnd is None
    else:
        assert output.jnd is not None
        assert output.jnd.shape == (2, 1, 128, 128)
    assert output.logits.shape == (2, 2, 128, 128)


@pytest.mark.parametrize("case", CASES)
def test_gradient_reaches_every_parameter(case: str) -> None:
    # Stem 1 keeps the bottleneck large enough that instance norm has something to normalise.
    torch.manual_seed(0)
    model = build_model(tiny(case, "model.stem=1"))
    open_branches(model)
    output = model(torch.rand(2, 3, 64, 64))
    maps = (output.reconstruction, output.jnd, output.logits)
    sum((values**2).mean() for values in maps if values is not None).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        # A bias ahead of a norm shifts nothing; its gradient is zero up to rounding.
        if not name.endswith("bias"):
            assert float(parameter.grad.abs().max()) > 0.0, name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("height", "width"), [(70, 64), (33, 95), (64, 128)])
def test_odd_and_oblong_sizes_are_padded_and_cropped(case: str, height: int, width: int) -> None:
    _, output = run(tiny(case), height, width)
    assert output.logits.shape == (2, 2, height, width)
    assert output.reconstruction.shape == (2, 3, height, width)


@pytest.mark.parametrize(
    ("switches", "kept"),
    [
        ((), True),
        (PLAIN, True),
        ((*PLAIN, "model.reconstruction.restore_colour=false"), False),
    ],
)
def test_colour_survives_instance_norm(switches: tuple[str, ...], kept: bool) -> None:
    images = torch.rand(2, 3, 64, 64) * torch.tensor([0.2, 0.5, 1.0]).view(1, 3, 1, 1)
    model = build_model(tiny("omnial", *switches))
    nn.init.zeros_(model.reconstruction.head.weight)
    nn.init.zeros_(model.reconstruction.head.bias)
    restored = model.eval()(images).reconstruction
    mean = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(restored, mean.expand_as(images) if kept else 0.0 * images)


@pytest.mark.parametrize("system", ["omnial", "draem", "jnld", "surrogate"])
def test_residual_blocks_start_as_a_linear_network(system: str) -> None:
    torch.manual_seed(0)
    network = build_model(tiny(system)).double().eval().reconstruction
    # Images of one mean colour: it goes past the network.
    first, second = (images - images.mean() for images in torch.rand(2, 1, 48, 32, 32).double())
    first, second = (
        i - i.reshape(1, 3, -1).mean(2).repeat_interleave(16, 1)[..., None, None]
        for i in (first, second)
    )
    with torch.no_grad():
        of_none = network(torch.zeros_like(first))[0]
        of_both = network(0.3 * first - 0.7 * second)[0] - of_none
        parts = (network(first)[0] - of_none, network(second)[0] - of_none)
        torch.testing.assert_close(of_both, 0.3 * parts[0] - 0.7 * parts[1])
        open_branches(network)
        assert not torch.allclose(network(2.0 * first)[0], 2.0 * network(first)[0], rtol=1e-2)


PLAIN_MAPS = {
    "omnial": (0.51351, 0.14483, -0.00377, 0.05297, 0.69644, -0.02259),
    "draem": (0.00033, 0.0431, 0.01665, 0.0476, 0.03238, 0.06672),
    "jnld": (0.00604, 0.04737, 0.00014, 0.05207, -0.04817, -0.05402),
    "surrogate": (0.00261, 0.05015, -0.00748, 0.04899, 0.03588, 0.02176),
}
"""Reconstruction's mean and deviation, logits' the same, and a value of each, as computed before
there were other blocks."""


@pytest.mark.parametrize("system", PLAIN_MAPS)
def test_plain_blocks_compute_what_they_did_before_there_were_others(system: str) -> None:
    torch.manual_seed(0)
    model = build_model(tiny(system, *PLAIN)).eval()
    images = (torch.sin(torch.arange(3 * 128 * 128.0).view(1, 3, 128, 128) * 0.013) + 1) / 2
    with torch.no_grad():
        output = model(images)
    restored, logits = output.reconstruction, output.logits
    found = (restored.mean(), restored.std(), logits.mean(), logits.std())
    found = torch.stack((*found, restored[0, 1, 70, 33], logits[0, 1, 90, 40]))
    torch.testing.assert_close(found, torch.tensor(PLAIN_MAPS[system]), atol=2e-4, rtol=0)


def test_padding_repeats_the_border() -> None:
    model = build_model(tiny()).eval()
    images = torch.rand(1, 3, 60, 64)
    by_hand = torch.cat((images, images[:, :, -1:].expand(-1, -1, 4, -1)), 2)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, model(by_hand).logits[:, :, :60])


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_gives_the_same_network_and_maps(case: str) -> None:
    (first, maps), (second, again) = run(tiny(case)), run(tiny(case))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert torch.equal(maps.logits, again.logits)
    assert torch.equal(maps.reconstruction, again.reconstruction)


@pytest.mark.parametrize("case", CASES)
def test_in_eval_mode_an_image_does_not_depend_on_its_batch(case: str) -> None:
    model = build_model(tiny(case)).eval()
    images = torch.rand(3, 3, 64, 64)
    # Instance norm of few values magnifies rounding, so nothing tighter holds for all.
    with torch.no_grad():
        torch.testing.assert_close(
            model(images).logits[1:2], model(images[1:2]).logits, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("case", CASES)
def test_bf16_autocast_stays_near_float32(case: str) -> None:
    model = build_model(tiny(case)).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact = model(images).reconstruction
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(images).reconstruction
    assert float((exact - rough.float()).abs().mean()) < 0.05


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stem", [1, 4])
def test_half_precision_meets_layouts_alone_that_are_upsampled_exactly(
    case: str, stem: int
) -> None:
    """A processor places bf16 between pixels to within rounding in channels-last layout alone."""
    model = to_channels_last(build_model(tiny(case, f"model.stem={stem}")))
    upsampled: list[torch.Tensor] = []
    for layer in model.modules():
        if isinstance(layer, UpBlock):
            layer.register_forward_pre_hook(lambda _, inputs: upsampled.append(inputs[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.rand(2, 3, 128, 128))
    assert {features.dtype for features in upsampled} == {torch.bfloat16}
    for features in upsampled:
        ours, exact = (
            F.interpolate(values, scale_factor=2, mode="bilinear", align_corners=True)
            for values in (features, features.float())
        )
        torch.testing.assert_close(ours.float(), exact, rtol=2**-8, atol=1e-6)


def test_balance_zero_is_the_unified_path_alone() -> None:
    _, whole = _neck(0.1)
    neck, features = _neck(0.0)
    assert {name.split(".")[0] for name, _ in neck.named_parameters()} == {"unified"}
    assert features.shape == whole.shape
    path = neck.unified(torch.cat((IMAGES, 0.5 - IMAGES, IMAGES[:, :1]), 1))
    torch.testing.assert_close(features, path, atol=1e-4, rtol=1e-4)


def test_balance_zero_trains_on_several_devices() -> None:
    """`DistributedDataParallel` refuses a second step where a parameter got no gradient."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        model = DistributedDataParallel(build_model(tiny("balance 0", "model.stem=1")))
        for _ in range(2):
            output = model(torch.rand(2, 3, 32, 32))
            sum(values.mean() for values in output[:3]).backward()
    finally:
        distributed.destroy_process_group()


def test_what_balance_zero_does_not_need_is_not_counted() -> None:
    parts = [
        describe(tiny("omnial", f"model.localization.balance={balance}"), 64, 64)
        for balance in (0.0, 0.1)
    ]
    neck, _ = _neck(0.1, stem=4)
    unused = count_parameters(neck.separate) + count_parameters(neck.join)
    assert parts[1]["total"] - parts[0]["total"] == unused
    assert parts[0]["flops"] < parts[1]["flops"]


IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _neck(balance: float, stem: int = 1) -> tuple[DiffNeck, torch.Tensor | None]:
    settings = tiny("omnial", f"model.localization.balance={balance}").localization
    torch.manual_seed(0)
    neck = DiffNeck(settings, stem**2)
    wanted = (IMAGES, torch.full_like(IMAGES, 0.5), IMAGES[:, :1])
    return neck, neck(*wanted) if stem == 1 else None


@pytest.mark.parametrize(
    ("attention", "module"),
    [("ca", 524_288), ("dcsa", 524_328), ("resblock", 527_019), ("bottleneck", 524_966)],
)
def test_module_counts_are_the_published_ones(attention: str, module: int) -> None:
    settings = load_settings(
        size="paper",
        overrides=[
            f"model.reconstruction.attention={attention}",
            f"model.localization.attention={attention}",
        ],
    ).model
    parts = describe(settings, 256, 256)["parts"]
    assert parts["module"] == {"parameters": module, "published": module}


def test_the_paper_network_meets_the_published_counts() -> None:
    parts = describe(_paper("omnial", "plain"), 256, 256)["parts"]
    assert parts["reconstruction"] == {"parameters": 62_851_580, "published": 62_852_092}
    assert parts["localization"] == {"parameters": 28_708_322, "published": 28_700_653}


@pytest.mark.parametrize("system", NETWORKS)
def test_residual_blocks_have_the_counts_of_plain_ones_to_a_thousandth(system: str) -> None:
    plain, residual = (
        describe(_paper(system, blocks), 256, 256) for blocks in ("plain", "residual")
    )
    assert residual["total"] == pytest.approx(plain["total"], rel=1e-3)
    assert residual["flops"] == pytest.approx(plain["flops"], rel=2e-3)
    for part, counts in residual["parts"].items():
        assert counts["published"] == plain["parts"][part]["published"]


def _paper(system: str, blocks: str) -> ModelSettings:
    return load_settings(system=system, size="paper", overrides=[f"model.blocks={blocks}"]).model


def test_draem_has_exactly_the_published_counts() -> None:
    parts = describe(_paper("draem", "plain"), 256, 256)["parts"]
    assert parts["reconstruction"] == {"parameters": 69_048_579, "published": 69_048_579}
    assert parts["localization"] == {"parameters": 28_374_146, "published": 28_374_146}


def test_jnld_is_draem_with_a_visibility_map() -> None:
    draem, jnld = (load_settings(system=name, size="paper") for name in ("draem", "jnld"))
    with_map = draem.model.reconstruction.model_copy(update={"jnd": True})
    assert draem.model.model_copy(update={"reconstruction": with_map}) == jnld.model
    counts = [describe(settings.model, 64, 64)["total"] for settings in (draem, jnld)]
    # One more output channel of the head, one more input channel of the discriminative network.
    assert counts[1] - counts[0] == (128 * 9 + 1) + 64 * 9


def test_draem_starts_from_its_normal_distribution() -> None:
    model, _ = run(tiny("draem", *PLAIN))
    weights = torch.cat(
        [m.weight.detach().flatten() for m in model.modules() if isinstance(m, nn.Conv2d)]
    )
    assert abs(float(weights.mean())) < 1e-3
    assert abs(float(weights.std()) - 0.02) < 1e-3
    scales = torch.cat(
        [m.weight.detach() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    )
    assert abs(float(scales.mean()) - 1.0) < 5e-3
    assert abs(float(scales.std()) - 0.02) < 5e-3


def test_diffneck_needs_a_visibility_map() -> None:
    with pytest.raises(UserError, match=r"diffneck.*jnd"):
        load_settings(overrides=["model.reconstruction.jnd=false"])


@pytest.mark.parametrize("size", SIZES)
def test_counts_agree_with_the_built_network_and_only_paper_is_compared(size: str) -> None:
    settings = load_settings(size=size)
    described = describe(settings.model, settings.data.height, settings.data.width)
    with torch.device("meta"):
        model = build_model(settings.model)
    assert described["total"] == count_parameters(model)
    assert (described["parts"]["module"]["published"] is not None) == (size == "paper")
    assert described["flops"] > 0


def test_flops_of_one_convolution_by_hand() -> None:
    small = describe(tiny("omnial", "model.stem=8"), 64, 64)["flops"]
    large = describe(tiny("omnial", "model.stem=8"), 128, 128)["flops"]
    # Convolutions grow with the area; the channel attention's 1x1 layers do not.
    assert 3.9 < large / small <= 4.0


@pytest.mark.parametrize(("height", "width"), [(64, 96), (63, 33)])
def test_a_second_look_at_half_the_resolution(height: int, width: int) -> None:
    plain, _ = run(tiny())
    twice, _ = run(tiny("omnial", "model.second_look=half"))
    images = torch.rand(2, 3, height, width)
    even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
    for model in (plain, twice):
        model.eval()
    with torch.no_grad():
        first, found = plain(images), twice(images)
        small = plain(even.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-1, -3))).logits
    larger = F.interpolate(small, scale_factor=2, mode="bilinear")[..., :height, :width]
    assert torch.allclose(found.logits, (first.logits + larger) / 2, atol=1e-5)
    assert torch.equal(found.reconstruction, first.reconstruction)
    assert not torch.allclose(found.logits, first.logits, atol=1e-3)


def test_a_training_step_looks_once() -> None:
    (_, once), (_, twice) = (
        run(tiny("omnial", f"model.second_look={look}")) for look in ("none", "half")
    )
    assert torch.equal(once.logits, twice.logits)

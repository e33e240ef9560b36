import pytest
import torch
import torch.nn.functional as F

from omnial.models.packing import pack, unpack


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_packing_is_pixel_unshuffle_and_back(stem: int, layout: torch.memory_format) -> None:
    images = torch.rand(2, 3, 16, 24).contiguous(memory_format=layout)
    packed = pack(images, stem)
    assert torch.equal(packed, F.pixel_unshuffle(images, stem))
    assert torch.equal(unpack(packed, stem), images)
    assert torch.equal(unpack(packed.contiguous(), stem), images)


def test_layouts_are_those_of_the_next_step() -> None:
    packed = pack(torch.rand(2, 3, 16, 24), 4)
    assert packed.is_contiguous(memory_format=torch.channels_last)
    assert unpack(packed, 4).is_contiguous()

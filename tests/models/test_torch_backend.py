import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omnial.models.scoring import image_score, score_map
from omnial.models.system import Output
from omnial.models.torch_backend import predict_batch


class Brightness(nn.Module):
    """The red channel as logit; training mode and gradients would show in the result."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Tensor) -> Output:
        assert not self.training
        assert not torch.is_grad_enabled()
        assert images.dtype == torch.float32
        assert images.is_contiguous()
        logit = self.gain * (images[:, :1] - 0.5)
        return Output(images * 3 - 1, images[:, 1:2], torch.cat([-logit, logit], 1))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))


def test_everything_that_the_network_says_comes_back(images: Tensor) -> None:
    result = predict_batch(Brightness().train(), images)
    logit = 4 * (images[:, 0].double() - 0.5)
    np.testing.assert_allclose(result.score_maps, torch.sigmoid(2 * logit), atol=1e-6)
    np.testing.assert_allclose(
        result.scores, image_score(torch.from_numpy(result.score_maps)), atol=1e-7
    )
    np.testing.assert_allclose(result.reconstruction, (images * 3 - 1).clamp(0, 1), atol=1e-6)
    np.testing.assert_array_equal(result.jnd, images[:, 1])
    assert result.score_maps.shape == result.jnd.shape == (3, 40, 56)
    assert result.embedding is None
    assert result.scores.dtype == np.float64


def test_nothing_is_scored_outside_the_valid_region(images: Tensor) -> None:
    images[:, 0, :, 30:] = 1.0
    valid = torch.ones(3, 40, 56, dtype=torch.bool)
    valid[:, :, 30:] = False
    result = predict_batch(Brightness(), images, valid)
    assert (result.score_maps[:, :, 30:] == 0).all()
    whole = predict_batch(Brightness(), images)
    np.testing.assert_array_equal(result.score_maps[:, :, :30], whole.score_maps[:, :, :30])
    assert (result.scores < whole.scores).all()


def test_double_precision_images_are_taken(images: Tensor) -> None:
    single, double = (predict_batch(Brightness(), batch) for batch in (images, images.double()))
    np.testing.assert_array_equal(single.score_maps, double.score_maps)
    assert score_map(torch.zeros(1, 2, 4, 4)).shape == (1, 4, 4)


def test_wrong_shapes_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images"):
        predict_batch(Brightness(), images[:, :1])
    with pytest.raises(ValueError, match="valid"):
        predict_batch(Brightness(), images, torch.ones(3, 40, 40, dtype=torch.bool))


def test_bf16_is_near_float32_and_scores_are_no_coarser_than_its_logits(images: Tensor) -> None:
    class Convolved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, images: Tensor) -> Output:
            logits = self.layer(images)
            assert logits.dtype == (torch.bfloat16 if wanted else torch.float32)
            return Output(images, None, logits)

    torch.manual_seed(0)
    network, found = Convolved(), []
    for wanted in (False, True):
        found.append(predict_batch(network, images, bf16=wanted).score_maps)
    assert 0.0 < np.abs(found[0] - found[1]).max() < 0.01
    # Probabilities in bf16 would have 256 steps from 0.5 to 1, and the same from 0.25 to 0.5.
    assert found[1].dtype == np.float32
    assert len(np.unique(found[1])) > 600

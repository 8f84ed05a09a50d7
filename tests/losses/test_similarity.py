import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from unblur.losses.similarity import dissimilarity


def test_it_is_ssim_with_zeros_beyond_the_rim() -> None:
    image, truth = torch.rand(2, 2, 3, 40, 30)
    framed = [torch.nn.functional.pad(each, (16,) * 4) for each in (image, truth)]
    _, everywhere = structural_similarity_index_measure(*framed, data_range=1.0, return_full_image=True)
    expected = 1 - everywhere[..., 16:-16, 16:-16].mean()
    assert float(dissimilarity(image, truth)) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (40, 40)])
def test_any_size(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, requires_grad=True)
    assert float(dissimilarity(image, image.detach()).detach()) == pytest.approx(0, abs=1e-6)
    other = dissimilarity(image, torch.rand(1, 3, *size))
    other.backward()
    assert float(other.detach()) > 0.01
    assert image.grad.abs().max() > 0
    with pytest.raises(ValueError, match="shapes differ"):
        dissimilarity(image, torch.rand(2, 3, *size))

import pytest
import torch

from unblur.layers.strided import StridedEncoder


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ((128, 64, 512, 4, False), 25_542_656),
        ((128, 64, 1024, 4, False), 91_602_944),
        ((64, 64, 512, 6, True), 34_787_264),
        ((6, 32, 128, 6, True), 2_315_552),
    ],
)
def test_the_papers_encoders_are_one_class(arguments: tuple[int, int, int, int, bool], count: int) -> None:
    with torch.device("meta"):
        encoder = StridedEncoder(*arguments)
        assert sum(parameter.numel() for parameter in encoder.parameters()) == count
        assert encoder(torch.empty(1, arguments[0], 70, 64)).shape == (1, arguments[2], 3, 2)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (31, 33)])
def test_any_size(size: tuple[int, int]) -> None:
    encoder = StridedEncoder(2, 4, 8, 2, bias=True)
    code = encoder(torch.rand(1, 2, *size))
    assert code.shape == (1, 8, -(-size[0] // 32), -(-size[1] // 32))
    assert (code < 0).any()
    assert code.isfinite().all()

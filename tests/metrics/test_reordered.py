import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.metrics.fidelity import psnr
from unblur.metrics.reordered import centre_scores, compare, film_scores, wanted_pairs
from unblur.metrics.sequence import BothWays


def clips(seed, count=5, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, batch, count, 3, 6, 6, generator=generator)


@given(st.permutations(range(5)), st.permutations(range(5)), st.booleans())
def test_orders_are_those_of_frames_that_are_sorted_first(first, second, lower):
    made, truth = clips(1)
    orders = [torch.tensor([first, second]), torch.tensor([second, list(range(5))])]
    compared = compare(made, truth, wanted_pairs(5, *orders), psnr)
    for order in orders:
        sorted_truth = truth[torch.arange(2)[:, None], order]
        expected = BothWays.of(made, sorted_truth, lower_is_better=lower)
        found = film_scores(compared, order, lower_is_better=lower)
        assert torch.allclose(found.forward, expected.forward)
        assert torch.allclose(found.backward, expected.backward)
        assert torch.allclose(found.best(), expected.best())
        assert torch.allclose(centre_scores(compared, order), psnr(made[:, 2], sorted_truth[:, 2]))


def test_each_pair_is_compared_once():
    made, truth = clips(2)
    seen = []

    def metric(image, other):
        seen.append(len(image))
        return psnr(image, other)

    time = torch.arange(5).expand(2, 5)
    compared = compare(made, truth, wanted_pairs(5, time, time), metric)
    # Forward and backward, which share the middle.
    assert sum(seen) == 2 * 9
    assert compared.isfinite().sum() == 18


def test_one_picture_stands_for_all():
    made, truth = clips(3)
    orders = torch.tensor([[4, 0, 1, 2, 3], [0, 1, 2, 3, 4]])
    compared = compare(made[:, :1], truth, wanted_pairs(1, orders), psnr)
    assert compared.shape == (2, 1, 5)
    both = film_scores(compared, orders)
    assert torch.allclose(both.forward.mean(1), psnr(made[:, :1].expand_as(truth), truth).mean(1))
    assert torch.allclose(centre_scores(compared, orders)[0], psnr(made[0, 0], truth[0, 1]))

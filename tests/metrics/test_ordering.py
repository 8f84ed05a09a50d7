import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.metrics.ordering import all_pairs, clip_order, consistent, hit, symmetric_pairs


def test_pairs() -> None:
    assert symmetric_pairs(7).tolist() == [[0, 6], [1, 5], [2, 4]]
    assert symmetric_pairs(4).tolist() == [[0, 3], [1, 2]]
    assert all_pairs(3).tolist() == [[0, 1], [0, 2], [1, 2]]
    for pairs in (symmetric_pairs, all_pairs):
        with pytest.raises(ValueError, match="at least 2"):
            pairs(1)


def test_hit_and_consistency() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0], [-1.0, -2.0, 3.0], [1.0, 0.0, 1.0]])
    assert hit(scores, -scores).tolist() == [[True] * 3, [True] * 3, [True, False, True]]
    assert not hit(scores, scores).any()
    assert consistent(scores, 2).tolist() == [True, True, False]
    assert consistent(scores, 3).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="con@4 needs 4 pairs"):
        consistent(scores, 4)


def test_wide_pairs_weigh_more_and_confidence_tells_of_disagreement() -> None:
    pairs = torch.tensor([[0, 3], [1, 2]])
    forward = torch.tensor([[1.0, -1.0], [1.0, 1.0], [1.0, -3.0]])
    score, confidence = clip_order(forward, -forward, pairs)
    torch.testing.assert_close(score, torch.tensor([0.5, 1.0, 0.0]))
    torch.testing.assert_close(confidence, torch.tensor([0.5, 1.0, 0.0]))


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_a_reversed_clip_has_the_opposite_score_whatever_the_scores(count: int, seed: int) -> None:
    table = torch.randn(3, count, count, generator=torch.Generator().manual_seed(seed))
    pairs = all_pairs(count)
    first, second = pairs.unbind(-1)
    there = clip_order(table[:, first, second], table[:, second, first], pairs)
    turned = table.flip(1, 2)
    back = clip_order(turned[:, first, second], turned[:, second, first], pairs)
    torch.testing.assert_close(back.score, -there.score)
    torch.testing.assert_close(back.confidence, there.confidence)
    assert ((there.confidence >= 0) & (there.confidence <= 1 + 1e-6)).all()


def test_frames_that_are_all_alike_have_no_order() -> None:
    score, confidence = clip_order(torch.zeros(1, 3), torch.zeros(1, 3), all_pairs(3))
    assert score.item() == 0
    assert confidence.item() == 0

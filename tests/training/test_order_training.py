import pytest
import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.losses.order_loss import one_sided, order_loss
from unblur.metrics.ordering import all_pairs, symmetric_pairs
from unblur.networks.hypercut import HyperCUT
from unblur.training.order_training import Ordering, OrderLoss

SMALL = {"width": 4, "channels": 8, "blocks": 1}


def _moving(count: int = 4, frames: int = 7) -> Tensor:
    """Textures that shift by two pixels a frame, half of them leftwards."""
    wide = torch.rand(count, 3, 64, 64 + 2 * frames)
    clips = torch.stack([wide[..., 2 * i : 2 * i + 64] for i in range(frames)], 1)
    return torch.cat((clips[: count // 2], clips[count // 2 :].flip(1)))


def test_the_loss_of_every_pair() -> None:
    network, frames = HyperCUT(**SMALL), _moving()
    forward = network.pairs(frames, all_pairs(7))
    terms = Ordering(network, OrderLoss()).losses({"frames": frames})
    torch.testing.assert_close(terms["order"], one_sided(forward))
    forward = network.pairs(frames, symmetric_pairs(7))
    terms = Ordering(network, OrderLoss(form="paper", others=0)).losses({"frames": frames})
    torch.testing.assert_close(terms["order"], order_loss(forward, -forward))


def test_other_pairs_join_the_symmetric_ones() -> None:
    system = Ordering(HyperCUT(**SMALL), OrderLoss(others=4))
    drawn = [system._pairs(7) for _ in range(20)]
    for pairs in drawn:
        assert torch.equal(pairs[:3], symmetric_pairs(7))
        assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs) == 7
    assert len({tuple(pairs[3:].flatten().tolist()) for pairs in drawn}) > 1


@pytest.mark.parametrize("form", ["offset", "released"])
def test_forms_that_do_not_turn_score_the_reverse_too(form: str) -> None:
    network, frames = HyperCUT(**SMALL, form=form), _moving()
    pairs = symmetric_pairs(7)
    expected = order_loss(network.pairs(frames, pairs), network.pairs(frames, pairs.flip(-1)))
    terms = Ordering(network, OrderLoss(form="paper", others=0)).losses({"frames": frames})
    torch.testing.assert_close(terms["order"], expected)
    with pytest.raises(UnblurError, match=r"set loss\.form to paper"):
        Ordering(network, OrderLoss())


def test_what_is_measured() -> None:
    class Leftwards(HyperCUT):
        def pairs(self, frames: Tensor, pairs: Tensor) -> Tensor:
            return torch.tensor([[1.0, 1.0, 1.0], [-2.0, -1.0, 1.0]])

    frames = torch.rand(2, 7, 3, 64, 64)
    measured = Ordering(Leftwards(**SMALL)).measure({"frames": frames})
    assert measured.scores["hit"].tolist() == [1, 1]
    assert measured.scores["con@2"].tolist() == [1, 1]
    assert measured.scores["con@3"].tolist() == [1, 0]
    assert measured.scores["confidence"][0] == 1
    first, runs, stored = measured.sheet
    assert torch.equal(first, frames[:, 0])
    assert torch.equal(stored, frames)
    assert torch.equal(runs, torch.stack((frames[0], frames[1].flip(0))))
    assert Ordering(HyperCUT(**SMALL)).measure({"frames": frames[:, :4]}).scores.keys() == {
        "hit",
        "con@2",
        "confidence",
    }


def test_fewer_pairs_than_none_are_refused() -> None:
    with pytest.raises(UnblurError, match=r"loss\.others -1: is no number of pairs"):
        Ordering(HyperCUT(**SMALL), OrderLoss(others=-1))


def test_pairs_of_a_clip_learn_to_agree() -> None:
    """Nothing is labelled: which way a clip runs is free, but all of its pairs say the same."""
    torch.manual_seed(0)
    system = Ordering(HyperCUT(width=8, channels=16, blocks=1, fold=2), OrderLoss())
    optimizer = torch.optim.Adam(system.network.parameters(), lr=1e-3)
    frames = _moving()
    losses = []
    for _ in range(30):
        losses.append(system.losses({"frames": frames})["order"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    scores = system.measure({"frames": frames}).scores
    assert losses[-1] < losses[0] / 3
    assert scores["con@3"].mean() == scores["hit"].mean() == 1
    assert scores["confidence"].mean() > 0.9


def test_clips_that_move_alike_are_one_clip() -> None:
    network, frames = HyperCUT(**SMALL), _moving()
    forward = network.pairs(frames, all_pairs(7))
    terms = Ordering(network, OrderLoss()).losses({"frames": frames, "shared_motion": torch.tensor(2)})
    torch.testing.assert_close(terms["order"], one_sided(forward.reshape(2, -1)))
    opposite = torch.stack((forward[0], -forward[0]))
    assert one_sided(opposite.reshape(1, -1)) > one_sided(opposite)

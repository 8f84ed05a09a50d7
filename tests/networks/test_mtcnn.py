from __future__ import annotations

import torch

from unblur.networks.mtcnn import MTCNN, normalised


def test_sizes_and_count():
    network = MTCNN()
    assert sum(p.numel() for p in network.parameters()) == 495_850
    faces, offsets = network(torch.zeros(2, 3, 12, 30))
    assert faces.shape == (2, 1, 10)
    assert offsets.shape == (2, 4, 1, 10)
    faces, offsets = network.refiner(torch.zeros(3, 3, 24, 24))
    assert (faces.shape, offsets.shape) == ((3,), (3, 4))
    faces, offsets, landmarks = network.describer(torch.zeros(3, 3, 48, 48))
    assert (faces.shape, offsets.shape, landmarks.shape) == ((3,), (3, 4), (3, 5, 2))


def test_landmarks_come_as_all_x_then_all_y():
    network = MTCNN()
    torch.nn.init.zeros_(network.describer.landmarks.weight)
    with torch.no_grad():
        network.describer.landmarks.bias.copy_(torch.arange(10.0))
    assert network.describer(torch.zeros(1, 3, 48, 48))[2][0, 1].tolist() == [1, 6]


def test_values():
    assert torch.allclose(normalised(torch.tensor([0.0, 127.5 / 255, 1.0])), torch.tensor([-127.5, 0, 127.5]) / 128)

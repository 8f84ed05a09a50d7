from __future__ import annotations

import pytest
import torch
from drawn_faces import ColourDetector, draw_face

from unblur.networks.mtcnn import MTCNN
from unblur.pipeline.face_detection import CascadeDetector, Face, _kept, _patches, find_faces


def test_upright_faces_from_left_to_right():
    picture = draw_face(draw_face(torch.zeros(3, 90, 160), 100, 40, 24), 20, 30, 24)
    left, right = find_faces(ColourDetector(), picture)
    assert left.box == pytest.approx((20, 30, 44, 54))
    assert right.box == pytest.approx((100, 40, 124, 64))
    assert left.tilt == 0


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_faces_that_lie_on_their_side(turns):
    picture = draw_face(torch.zeros(3, 90, 160), 20, 30, 24)
    upright = find_faces(ColourDetector(), picture)[0]
    (face,) = find_faces(ColourDetector(), torch.rot90(picture, turns, (1, 2)))
    # Turned anticlockwise, so that the eyes' line points up, back, down.
    assert face.tilt == pytest.approx({1: -90, 2: 180, 3: 90}[turns]) or abs(face.tilt) == pytest.approx(180)
    where = {1: (30, 116, 54, 140), 2: (116, 36, 140, 60), 3: (36, 20, 60, 44)}[turns]
    assert face.box == pytest.approx(where, abs=1)
    assert len(face.landmarks) == len(upright.landmarks)


def test_large_pictures_are_shrunk_and_the_answer_is_not():
    picture = draw_face(torch.zeros(3, 180, 320), 40, 60, 96)
    (face,) = find_faces(ColourDetector(), picture, angles=(0.0,), side=160)
    assert face.box == pytest.approx((40, 60, 136, 156), abs=3)


def test_what_is_unsure_is_left_out():
    picture = draw_face(torch.zeros(3, 60, 60), 10, 10, 24)
    assert not find_faces(ColourDetector(score=0.89), picture)
    assert find_faces(ColourDetector(score=0.91), picture)
    # In a turned picture more is asked.
    assert not find_faces(ColourDetector(score=0.97), torch.rot90(picture, 1, (1, 2)))
    assert find_faces(ColourDetector(score=0.99), torch.rot90(picture, 1, (1, 2)))


def test_no_face():
    assert find_faces(ColourDetector(), torch.zeros(3, 50, 50)) == []
    torch.manual_seed(0)
    detector = CascadeDetector(MTCNN(), thresholds=(1.1, 1.1, 1.1))
    assert detector.detect(torch.rand(3, 40, 50)) == []
    assert detector.detect(torch.rand(3, 5, 5)) == []


def test_an_untrained_cascade_runs_through():
    torch.manual_seed(0)
    faces = CascadeDetector(MTCNN(), thresholds=(0.0, 0.0, 0.0)).detect(torch.rand(3, 40, 50))
    assert faces
    assert all(isinstance(face, Face) and len(face.landmarks) == 5 for face in faces)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_overlaps():
    boxes = torch.tensor([[0, 0, 10, 10, 0.8], [1, 0, 11, 10, 0.9], [0, 0, 3, 3, 0.7], [30, 30, 40, 40, 0.5]])
    assert _kept(boxes, 0.5).tolist() == [1, 2, 3]
    assert _kept(boxes, 0.5, of_smaller=True).tolist() == [1, 3]
    assert _kept(torch.empty(0, 5), 0.5).tolist() == []


def test_patches_are_what_lies_in_boxes():
    ramp = torch.arange(64.0).expand(64, 64)
    picture = torch.stack((ramp, ramp.T, torch.ones(64, 64)))[None]
    # By the middles of pixels: 24 pixels from the 10th on are copied; 48 are read from a picture half as large.
    small, large = _patches(picture, torch.tensor([[9.5, 4.5, 33.5, 28.5], [7.5, 3.5, 55.5, 51.5]]), 24)
    assert torch.allclose(small, picture[0, :, 5:29, 10:34], atol=1e-4)
    assert torch.allclose(large[0, 0], torch.arange(24) * 2 + 8.5, atol=1e-3)
    assert torch.allclose(large[1, :, 0], torch.arange(24) * 2 + 4.5, atol=1e-3)
    (outside,) = _patches(picture, torch.tensor([[-100.0, -100.0, -76.0, -76.0]]), 24)
    assert torch.equal(outside, torch.zeros_like(outside))

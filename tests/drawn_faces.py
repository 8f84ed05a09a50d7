"""Faces that are drawn, and a detector that finds them: tests need no weights."""

import cv2
import numpy as np
import torch

from unblur.pipeline.face_detection import Face


def draw_face(picture, left, top, side):
    """A red square with a green left eye and a blue right one, for `ColourDetector`."""
    picture = picture.clone()
    eighth = side // 8
    picture[:, top : top + side, left : left + side] = torch.tensor([1.0, 0, 0])[:, None, None]
    for place, colour in ((2, [0.0, 1, 0]), (5, [0.0, 0, 1])):
        rows = slice(top + 2 * eighth, top + 3 * eighth)
        columns = slice(left + place * eighth, left + (place + 1) * eighth)
        picture[:, rows, columns] = torch.tensor(colour)[:, None, None]
    return picture


class ColourDetector:
    """Finds what `draw_face` drew, as long as it is upright: its green eye left of its blue one."""

    def __init__(self, score=0.995):
        self.score = score

    def detect(self, picture, smallest=0.03):
        eyes = [_places(picture, channel) for channel in (1, 2)]
        red = _places(picture, 0)
        count, labels = cv2.connectedComponents((sum(_mask(picture, c) for c in range(3)) > 0).astype(np.uint8))
        faces = []
        for label in range(1, count):
            parts = [points[labels[points[:, 1], points[:, 0]] == label] for points in (*eyes, red)]
            if min(map(len, parts)) == 0:
                continue
            left, right = (points.mean(0) + 0.5 for points in parts[:2])
            whole = np.argwhere(labels == label)[:, ::-1]
            (x, y), (u, v) = whole.min(0), whole.max(0) + 1
            if right[0] > left[0] and abs(right[1] - left[1]) < 0.3 * (right[0] - left[0]):
                nose = ((x + u) / 2, (y + v) / 2)
                points = tuple((float(a), float(b)) for a, b in (left, right, nose, nose, nose))
                faces.append(Face((float(x), float(y), float(u), float(v)), points, self.score))
        return faces


def _mask(picture, channel):
    others = [c for c in range(3) if c != channel]
    return ((picture[channel] > 0.6) & (picture[others].amax(0) < 0.4)).numpy()


def _places(picture, channel):
    return np.argwhere(_mask(picture, channel))[:, ::-1]

"""Where the faces are in a picture, whichever way up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unblur.networks.mtcnn import MTCNN, normalised

Box = tuple[float, float, float, float]
CELL, STRIDE = 12, 2
ANGLES = (0.0, 90.0, 180.0, 270.0, 45.0, 315.0)
"""Degrees by which a picture is turned to look for faces that are not upright: each looks 30 or so to both sides."""
SURE, SURER = 0.9, 0.98
"""What a face must score in the picture as it is, and in one turned, where more is taken for a face that is none."""
UPRIGHT = 0.03
"""What a face scores more in the picture as it is: turning makes it less exact."""
SMALLEST = 0.03
"""Side of the smallest face, as a share of the picture's shorter side."""
SIDE = 1024
"""Pixels to which the longer side is shrunk to look for faces."""


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes
    ----------
    box : (float, float, float, float)
        Left, top, right and bottom in pixels; may reach out of the picture.
    landmarks : tuple of (float, float)
        x and y in pixels of the left eye, the right eye, the nose and the corners of the mouth; left is the left side
        of the face as it is seen upright. Empty where nobody knows.
    score : float
        How sure the detector is, 0 to 1.
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...] = ()
    score: float = 1.0

    @property
    def side(self) -> float:
        """The longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def tilt(self) -> float:
        """Degrees by which the line of the eyes is turned clockwise, -180 to 180; 0 where nobody knows."""
        if len(self.landmarks) < 2:
            return 0.0
        (left, high), (right, low) = self.landmarks[:2]
        return math.degrees(math.atan2(low - high, right - left))


class Detector(Protocol):
    """Finds upright faces."""

    def detect(self, picture: Tensor, smallest: float = SMALLEST) -> list[Face]:
        """The faces in (3, H, W) RGB in [0, 1], the surest first; none smaller than so much of the shorter side."""
        ...


def find_faces(detector: Detector, picture: Tensor, angles: Sequence[float] = ANGLES, side: int = SIDE) -> list[Face]:
    """The faces in a picture of any size, upright or not, from left to right.

    Parameters
    ----------
    picture : Tensor
        (3, H, W) RGB in [0, 1].
    angles : sequence of float
        Degrees clockwise; the picture is turned back by each, and looked at.
    side : int
        Larger pictures are shrunk to this for the search.
    """
    scale = min(1.0, side / max(picture.shape[-2:]))
    small = picture.float().cpu()
    if scale < 1:
        small = F.interpolate(small[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    found: list[tuple[float, Face]] = []
    for angle in angles:
        turned, back = _turned(small, angle)
        least, more = (SURE, UPRIGHT) if angle == 0 else (SURER, 0.0)
        found += [(face.score + more, _moved(face, back)) for face in detector.detect(turned) if face.score >= least]
    height, width = picture.shape[-2:]
    factor = np.array([width / small.shape[-1], height / small.shape[-2]])
    kept: list[Face] = []
    for _, face in sorted(found, key=lambda one: -one[0]):
        if not any(_share(face.box, other.box) > 0.3 for other in kept):
            kept.append(face)
    scaled = [_moved(face, _Back(np.diag(factor), np.zeros(2))) for face in kept]
    return sorted(scaled, key=lambda face: face.box)


class _Back(NamedTuple):
    """Points p in one picture are at matrix @ p + offset in another."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]


def _turned(picture: Tensor, angle: float) -> tuple[Tensor, _Back]:
    """The whole picture turned anticlockwise, black around it, and where its points were."""
    if angle == 0:
        return picture, _Back(np.eye(2), np.zeros(2))
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    old = np.array(picture.shape[:0:-1], np.float64)
    new = np.ceil(abs(matrix.T) @ old - 1e-6)
    # Continuous coordinates, in which a picture spans 0 to its width.
    offset = old / 2 - matrix @ (new / 2)
    x, y = torch.arange(int(new[0])) + 0.5, torch.arange(int(new[1])) + 0.5
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).double()
    there = places @ torch.from_numpy(matrix.T) + torch.from_numpy(offset)
    grid = (2 * there / torch.from_numpy(old) - 1).float()
    return F.grid_sample(picture[None], grid[None], align_corners=False)[0], _Back(matrix, offset)


def _moved(face: Face, back: _Back) -> Face:
    """The face by its place in another picture; the box stays a box about its centre."""
    left, top, right, bottom = face.box
    x, y = back.matrix @ np.array([(left + right) / 2, (top + bottom) / 2]) + back.offset
    wide, high = (right - left) / 2, (bottom - top) / 2
    # Turned by about a quarter, width and height change places.
    across = abs(back.matrix[0, 1]) > abs(back.matrix[0, 0])
    sizes = (high, wide) if across else (wide, high)
    half_wide, half_high = (size * float(np.linalg.norm(row)) for size, row in zip(sizes, back.matrix, strict=True))
    points = [back.matrix @ np.array(point) + back.offset for point in face.landmarks]
    box = (float(x - half_wide), float(y - half_high), float(x + half_wide), float(y + half_high))
    return replace(face, box=box, landmarks=tuple((float(px), float(py)) for px, py in points))


def _share(one: Box, other: Box) -> float:
    """Of what two boxes cover, the share that both do; or that of the smaller one that lies in the larger."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(across, 0) * max(down, 0) / max(min(areas), 1e-9)


class CascadeDetector:
    """Finds upright faces with `MTCNN`, on the CPU: proposals at many scales, refined and described.

    Parameters
    ----------
    network : MTCNN
    step : float
        From one scale to the next, as in the paper.
    thresholds : (float, float, float)
        Least score after each of the three networks.
    """

    def __init__(
        self,
        network: MTCNN,
        step: float = 0.709,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8),
    ) -> None:
        self.network = network.eval()
        self.step, self.thresholds = step, thresholds

    @torch.inference_mode()
    def detect(self, picture: Tensor, smallest: float = SMALLEST) -> list[Face]:
        """The faces in (3, H, W) RGB in [0, 1], the surest first; see `Detector`. None is smaller than 20 pixels."""
        # From here on coordinates are those of pixels: 0 is the middle of the first one.
        seen = normalised(picture.cpu())[None]
        boxes = self._propose(seen, max(20.0, smallest * min(seen.shape[-2:])))
        if len(boxes):
            boxes = self._refine(seen, boxes)
        return self._describe(seen, boxes) if len(boxes) else []

    def _propose(self, seen: Tensor, smallest: float) -> Tensor:
        """Square boxes (N, 4)."""
        shorter, scale = min(seen.shape[-2:]), CELL / smallest
        proposed = [torch.empty(0, 5)]
        while shorter * scale >= CELL:
            height, width = (math.ceil(side * scale) for side in seen.shape[-2:])
            small = F.interpolate(seen, (height, width), mode="bilinear", antialias=True)
            faces, offsets = self.network.proposer(small)
            rows, columns = torch.nonzero(faces[0] > self.thresholds[0], as_tuple=True)
            corner = torch.stack((columns, rows), 1) * STRIDE
            boxes = torch.cat((corner, corner + CELL), 1) + offsets[0, :, rows, columns].T * CELL
            boxes = boxes * torch.tensor([seen.shape[-1] / width, seen.shape[-2] / height]).repeat(2)
            both = torch.cat((boxes, faces[0, rows, columns, None]), 1)
            proposed.append(both[_kept(both, 0.5)])
            scale *= self.step
        boxes = torch.cat(proposed)
        return _square(boxes[_kept(boxes, 0.7)][:, :4])

    def _refine(self, seen: Tensor, boxes: Tensor) -> Tensor:
        faces, offsets = self.network.refiner(_patches(seen, boxes, self.network.refiner.size))
        sure = faces > self.thresholds[1]
        both = torch.cat((_adjusted(boxes, offsets), faces[:, None]), 1)[sure]
        return _square(both[_kept(both, 0.7)][:, :4])

    def _describe(self, seen: Tensor, boxes: Tensor) -> list[Face]:
        faces, offsets, landmarks = self.network.describer(_patches(seen, boxes, self.network.describer.size))
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
        points = boxes[:, None, :2] + landmarks * sides
        both = torch.cat((_adjusted(boxes, offsets), faces[:, None]), 1)
        sure = torch.nonzero(faces > self.thresholds[2])[:, 0]
        kept = sure[_kept(both[sure], 0.7, of_smaller=True)]
        described = []
        for number in kept.tolist():
            left, top, right, bottom, score = both[number].tolist()
            places = tuple((float(x) + 0.5, float(y) + 0.5) for x, y in points[number])
            described.append(Face((left + 0.5, top + 0.5, right + 0.5, bottom + 0.5), places, score))
        return described


def _adjusted(boxes: Tensor, offsets: Tensor) -> Tensor:
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat((middle - half, middle + half), 1)


def _kept(boxes: Tensor, most: float, *, of_smaller: bool = False) -> Tensor:
    """Of boxes (N, 5) with scores those that share at most so much with a surer one: their numbers, surest first."""
    sides = (boxes[:, 2:4] - boxes[:, :2]).clamp_min(0)
    areas = sides.prod(1)
    left = boxes[:, 4].argsort(descending=True, stable=True)
    kept = []
    while len(left):
        first, rest = left[0], left[1:]
        kept.append(int(first))
        low = torch.maximum(boxes[first, :2], boxes[rest, :2])
        both = (torch.minimum(boxes[first, 2:4], boxes[rest, 2:4]) - low).clamp_min(0).prod(1)
        whole = torch.minimum(areas[first], areas[rest]) if of_smaller else areas[first] + areas[rest] - both
        left = rest[both <= most * whole]
    return torch.tensor(kept, dtype=torch.long)


def _patches(seen: Tensor, boxes: Tensor, size: int) -> Tensor:
    """What is in each box, at (N, 3, size, size); nothing is grey. Large boxes are read from a smaller picture."""
    levels = torch.log2((boxes[:, 2] - boxes[:, 0]) / size).clamp(0, 8).round().long()
    patches = seen.new_empty(len(boxes), 3, size, size)
    steps = (torch.arange(size) + 0.5) / size
    for level in levels.unique().tolist():
        picture = seen
        if level:
            shape = [max(round(side / 2**level), 1) for side in seen.shape[-2:]]
            picture = F.interpolate(seen, shape, mode="bilinear", antialias=True)
        some = levels == level
        corner, sides = boxes[some, :2] + 0.5, boxes[some, 2:] - boxes[some, :2]
        x, y = (corner[:, i, None] + steps * sides[:, i, None] for i in (0, 1))
        across, down = 2 * x / seen.shape[-1] - 1, 2 * y / seen.shape[-2] - 1
        count = len(across)
        grid = torch.stack((across[:, None, :].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)), -1)
        # One tall picture of all patches: the source is not copied for each.
        drawn = F.grid_sample(picture, grid.reshape(1, count * size, size, 2), align_corners=False)
        patches[some] = drawn[0].unflatten(1, (count, size)).transpose(0, 1)
    return patches

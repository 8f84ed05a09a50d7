from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_faces import ColourDetector, draw_face

from unblur.datasets.landmarks import Mark, find_marks, read_annotations, read_marks, read_pts, write_marks
from unblur.errors import UnblurError


def pts(path: Path, points) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"{x} {y}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n")
    return path


def test_annotations_of_300vw(tmp_path):
    points = [(100 + i, 50 + (i * 7) % 60) for i in range(68)]
    pts(tmp_path / "000001.pts", points)
    pts(tmp_path / "000003.pts", [(x + 1, y) for x, y in points])
    first, second, third = read_annotations(tmp_path)
    # Point 36, counted from 0.
    assert first == Mark((136.0, 50 + (36 * 7) % 60), (100.0, 50.0, 167.0, 109.0))
    assert second is None
    assert third.eye[0] == 137


@pytest.mark.parametrize("text", ["", "{\n1 2\n3\n}", "{\n1 nan\n}", "1 2", "{\n}"])
def test_damaged_points(tmp_path, text):
    (tmp_path / "000001.pts").write_text(text)
    with pytest.raises(UnblurError, match=r"000001\.pts: is no \.pts file"):
        read_pts(tmp_path / "000001.pts")


def test_annotations_that_are_not_those(tmp_path):
    with pytest.raises(UnblurError, match=r"holds no \.pts"):
        read_annotations(tmp_path)
    pts(tmp_path / "000001.pts", [(1, 2)] * 5)
    with pytest.raises(UnblurError, match="has 5 points"):
        read_annotations(tmp_path)
    (tmp_path / "000001.pts").rename(tmp_path / "first.pts")
    with pytest.raises(UnblurError, match="not named after"):
        read_annotations(tmp_path)


def test_marks_come_back(tmp_path):
    marks = [Mark((1.25, 2.5), (0.0, 0.5, 10.0, 12.0)), None, Mark((3.0, 4.0), (1.0, 1.0, 9.0, 9.0))]
    assert read_marks(write_marks(tmp_path / "a" / "clip.csv", marks)) == marks


def test_marks_as_json(tmp_path):
    line = '{"frame": %d, "eye": [1, 2], "box": [0, 0, 8, 9]}'
    mark = Mark((1.0, 2.0), (0.0, 0.0, 8.0, 9.0))
    (tmp_path / "a.json").write_text(f"[{line % 0}, {line % 2}]")
    (tmp_path / "b.jsonl").write_text(f'{line % 0}\n{{"frame": 1, "eye": null}}\n{line % 2}\n')
    assert read_marks(tmp_path / "a.json") == read_marks(tmp_path / "b.jsonl") == [mark, None, mark]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no frame"),
        ("nonsense", "is not JSON"),
        ('{"frame": 0, "eye": [1, 2], "box": [5, 0, 5, 9]}', "entry 1 is no frame"),
        ('{"frame": 0, "eye": [1], "box": [5, 0, 7, 9]}', "entry 1 is no frame"),
        ('{"frame": -1, "eye": null}', "entry 1 is no frame"),
        ('{"frame": 0, "eye": null}\n{"frame": 0, "eye": null}', "entry 2 names frame 0 again"),
        ("[1]", "entry 1 is no frame"),
    ],
)
def test_marks_that_are_none(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(UnblurError, match=said):
        read_marks(tmp_path / "a.jsonl")


def test_one_face_is_followed():
    frames = []
    for n in range(6):
        frame = draw_face(torch.zeros(3, 100, 200), 20 + 4 * n, 40, 32)
        # Another one, larger, that comes later.
        frames.append(draw_face(frame, 140, 30, 48) if n > 2 else frame)
    frames[1] = torch.zeros(3, 100, 200)
    marks = find_marks(frames, ColourDetector())
    assert marks[1] is None
    for n in (0, 2, 3, 4, 5):
        mark = marks[n]
        assert mark.box == pytest.approx((20 + 4 * n, 40, 52 + 4 * n, 72), abs=1)
        assert mark.eye == pytest.approx((20 + 4 * n + 10, 50), abs=1)

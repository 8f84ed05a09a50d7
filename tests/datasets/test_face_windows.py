from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_faces import ColourDetector, draw_face
from hypothesis import given
from hypothesis import strategies as st

from unblur.datasets.face_windows import (
    Mark,
    WindowRules,
    crop_of,
    face_windows,
    find_marks,
    fmr_order,
    fmr_statistics,
    kendall_tau,
    marked_windows,
    read_annotations,
    read_marks,
    read_pts,
    write_marks,
)
from unblur.errors import UnblurError

RULES = WindowRules(frames=(3,), every=2, size=32, sharpness=0.0)


def clip(count: int, step: int = -3):
    """Noise that moves by `step` pixels per frame, and a face in it."""
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.random((3, 60, 200), np.float32))
    places = [60 + step * n for n in range(count)]
    frames = [noise[:, :, 70 - x + 60 : 70 - x + 160] for x in places]
    marks = [Mark((x + 4.0, 24.0), (x - 2.0, 20.0, x + 14.0, 36.0)) for x in places]
    return frames, marks


def test_where_windows_begin():
    _, marks = clip(9)
    marks[4] = None
    assert [start for start, _ in marked_windows(marks, 3, 2)] == [0, 6]
    assert [start for start, _ in marked_windows(marks, 3, 1)] == [0, 1, 5, 6]
    jump = replace_mark(marks[7], 40)
    assert [start for start, _ in marked_windows([*marks[:7], jump, marks[8]], 3, 1)] == [0, 1]


def replace_mark(mark: Mark, by: float) -> Mark:
    left, top, right, bottom = mark.box
    return Mark((mark.eye[0] + by, mark.eye[1]), (left + by, top, right + by, bottom))


@pytest.mark.parametrize("sort", ["fmr", "time"])
def test_windows(sort):
    frames, marks = clip(8)
    windows = list(face_windows(frames, marks, replace(RULES, sort=sort, response="linear")))
    assert [window.start for window in windows] == [0, 2, 4]
    for window in windows:
        # The eye goes left, so that the last frame is the first.
        assert window.ranks == (2, 1, 0)
        assert window.order == ((2, 1, 0) if sort == "fmr" else (0, 1, 2))
        assert window.pictures.shape == (4, 32, 32, 3)
        assert abs(window.pictures[0] - window.pictures[1:].mean(0)).max() <= 0.51
    # The box of 16 moves by 6; enlarged by half of 22 on each side.
    assert windows[0].crop[2] == 44
    rough = abs(np.diff(windows[0].pictures[1:].astype(float), axis=0)).mean()
    assert rough > 10


def test_the_crop():
    marks = [Mark((0, 0), (40, 20, 60, 40)), Mark((0, 0), (44, 20, 64, 40))]
    rules = WindowRules()
    assert crop_of(marks, (100, 200), rules) == (28, 6, 48)
    assert crop_of(marks, (100, 200), replace(rules, box="mean")) == (32, 10, 40)
    # At the edge it is moved, and it is never larger than the frame.
    assert crop_of(marks, (42, 66), rules) == (24, 0, 42)


def test_why_windows_are_left_out():
    frames, marks = clip(9)
    dropped: Counter[str] = Counter()
    assert not list(face_windows(frames, marks, replace(RULES, sharpness=1e9), dropped))
    assert dropped == {"soft": 4}
    assert not list(face_windows(frames, marks, replace(RULES, max_step=1.0), dropped))
    assert not list(face_windows(frames, marks, replace(RULES, min_length=100.0), dropped))
    assert (dropped["fast"], dropped["still"]) == (4, 4)
    frames[1] = frames[0]
    still = replace_mark(marks[0], 0)
    assert len(list(face_windows(frames, [marks[0], still, *marks[2:]], RULES, dropped))) == 3
    assert dropped["duplicate"] == 1
    # Marks past the end of the clip.
    assert len(list(face_windows(frames[:4], marks, RULES))) <= 1


places = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9)


@given(places)
def test_x_then_y_then_time(eyes):
    order = fmr_order(eyes)
    assert sorted(order) == list(range(len(eyes)))
    keys = [(*eyes[i], i) for i in order]
    assert keys == sorted(keys)


def test_fractions_are_cut_off_as_released():
    eyes = [(10.9, 5.0), (10.1, 5.9), (9.99, 7.0)]
    assert fmr_order(eyes) == [2, 0, 1]
    # Toward zero, not down: an eye just outside the frame counts as on its edge.
    assert fmr_order([(0.5, 0), (-0.5, 0)]) == [0, 1]


def test_an_eye_that_is_nowhere():
    with pytest.raises(ValueError, match="not a number"):
        fmr_order([(1, 2), (float("nan"), 2)])


@given(st.permutations(range(6)))
def test_a_mirror_turns_the_order_round(order):
    eyes = [(float(order.index(i)), 0.0) for i in range(6)]
    mirror = [(99 - x, y) for x, y in eyes]
    assert fmr_order(mirror) == fmr_order(eyes)[::-1]


@given(st.permutations(range(7)))
def test_tau(order):
    agreeing = [1 if order[i] < order[j] else -1 for i, j in combinations(range(7), 2)]
    assert kendall_tau(order) == pytest.approx(np.mean(agreeing))


def test_statistics_by_hand():
    found = fmr_statistics([[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [0, 1, 2, 3, 4]])
    three, five = found
    assert (three.frames, three.clips, five.clips) == (3, 4, 1)
    assert three.tau == pytest.approx((1 - 1 + 1 / 3 + 1 / 3) / 4)
    assert three.tau_size == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)
    assert (three.forward, three.backward, three.monotone, three.centre) == (0.25, 0.25, 0.5, 0.5)
    with pytest.raises(ValueError, match="no order"):
        fmr_statistics([[0]])


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

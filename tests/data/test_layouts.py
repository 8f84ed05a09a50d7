from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.layouts import Found, find_exposures, find_pairs, match, read_box
from unblur.errors import UnblurError
from unblur.media.folder import IMAGE_SUFFIXES

RELEASED = ["blur_imgs/s1/0.png", "blur_imgs/s2/0.jpg", "sharp_imgs/s1/0.png", "sharp_imgs/s2/0.png"]
GOPRO = [f"{part}/G1/{kind}/0.png" for part in ("train", "test") for kind in ("blur", "blur_gamma", "sharp")]
REDS = [
    f"{part}/{part}_{kind}/{sequence}/0.png"
    for part in ("train", "val")
    for kind in ("blur", "sharp")
    for sequence in ("000", "001", "011")
]


def test_the_layout_of_the_released_readme() -> None:
    assert find_pairs("x", RELEASED) == [
        ("sharp_imgs/s1/0.png", "blur_imgs/s1/0.png"),
        ("sharp_imgs/s2/0.png", "blur_imgs/s2/0.jpg"),
    ]
    below = [f"a/b/{name}" for name in RELEASED]
    assert len(find_pairs("x", below)) == 2


def test_gopro() -> None:
    assert find_pairs("x", GOPRO) == [("train/G1/sharp/0.png", "train/G1/blur/0.png")]
    assert find_pairs("x", GOPRO, layout="gopro-gamma", split="val") == [
        ("test/G1/sharp/0.png", "test/G1/blur_gamma/0.png")
    ]
    assert len(find_pairs("x", GOPRO, split="all")) == 2


def test_reds_holds_out_four_sequences_of_the_training_part_alone() -> None:
    blurry = [blurry for _, blurry in find_pairs("x", REDS)]
    assert blurry == ["train/train_blur/001/0.png", *(f"val/val_blur/{s}/0.png" for s in ("000", "001", "011"))]
    assert find_pairs("x", REDS, split="val") == [
        (f"train/train_sharp/{s}/0.png", f"train/train_blur/{s}/0.png") for s in ("000", "011")
    ]


@pytest.mark.parametrize("half", ["blur_imgs", "sharp_imgs"])
def test_a_picture_without_its_other_half(half: str) -> None:
    names = [name for name in RELEASED if not name.startswith(f"{half}/s2")]
    with pytest.raises(UnblurError, match=r"^x: .*s2/0\.(png|jpg) has no (sharp|blurry) picture of its name;") as error:
        find_pairs("x", names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_the_halves_may_be_of_any_two_formats(suffix: str) -> None:
    names = [f"blur_imgs/s/0{suffix.upper()}", "sharp_imgs/s/0.png"]
    assert find_pairs("x", names) == [(names[1], names[0])]
    assert match(("s", "b"), ["a.b"], [f"a.b{suffix}"]) == [("a.b", f"a.b{suffix}")]


def test_two_pictures_for_one_name() -> None:
    with pytest.raises(UnblurError, match="holds both"):
        find_pairs("x", [*RELEASED, "sharp_imgs/s1/0.jpg"])


def test_no_pairs() -> None:
    with pytest.raises(UnblurError, match="holds no pairs;"):
        find_pairs("x", ["a/0.png", "b/0.png"])
    with pytest.raises(UnblurError, match="holds no pairs in the layout reds"):
        find_pairs("x", RELEASED, layout="reds")
    with pytest.raises(UnblurError, match="has no pair of the split val"):
        find_pairs("x", RELEASED, split="val")
    with pytest.raises(UnblurError, match="has no pair of the split train"):
        find_pairs("x", [name for name in GOPRO if name.startswith("test")])


@given(st.sets(st.from_regex(r"[a-c]{1,2}/[a-c._]{1,3}", fullmatch=True), min_size=1), st.randoms())
def test_two_places_match_by_name_in_any_order(names: set[str], random: object) -> None:
    blurry = sorted(names)
    random.shuffle(blurry)  # type: ignore[attr-defined]
    pairs = match(("s", "b"), [f"{name}.png" for name in names], [f"{name}.png" for name in blurry])
    assert all(sharp == other for sharp, other in pairs)
    assert len(pairs) == len(names)


def test_two_places_that_differ() -> None:
    with pytest.raises(UnblurError, match=r"^s,b: 1\.png has no sharp picture of its name, nor have 1 more"):
        match(("s", "b"), ["0.png"], ["0.png", "1.png", "2.png"])


def clip(name: str, image: str = "0000", count: int = 7, first: int = 1, digits: int = 1) -> list[str]:
    frames = [f"{name}/sharp/{image}_{i:0{digits}d}.png" for i in range(first, first + count)]
    return [f"{name}/blur/{image}.png", *frames]


def test_rb2v() -> None:
    names = [*clip("000001"), *clip("000000", "b"), *clip("000000", "a")]
    layout, found = find_exposures("x", names)
    assert layout == "rb2v"
    assert [one.id for one in found] == ["000000/a", "000000/b", "000001/0000"]
    assert found[2].blurry == "000001/blur/0000.png"
    assert found[2].frames == tuple(f"000001/sharp/0000_{i}.png" for i in range(1, 8))
    assert {one.split for one in found} == {"train"}
    assert {one.split for one in find_exposures("x", names, split="test")[1]} == {"test"}


def test_splits_are_folders() -> None:
    names = [*clip("train/a"), *clip("valid/b"), *clip("test/c"), *clip("d")]
    found = find_exposures("x", names, split="val")[1]
    assert {one.id: one.split for one in found} == {
        "train/a/0000": "train",
        "valid/b/0000": "val",
        "test/c/0000": "test",
        "d/0000": "val",
    }


def test_baist() -> None:
    layout, found = find_exposures("x", clip("gWA_d25", "00000041", first=0, digits=3))
    assert layout == "baist"
    assert found == [
        Found(
            "gWA_d25/00000041",
            "train",
            "gWA_d25/blur/00000041.png",
            tuple(f"gWA_d25/sharp/00000041_{i:03d}.png" for i in range(7)),
            "gWA_d25/blur_anno/00000041.pkl",
        )
    ]


@given(st.integers(2, 20), st.permutations(range(12)))
def test_any_number_of_frames_in_any_order(count: int, order: list[int]) -> None:
    names = clip("a", "x_1", 12)
    found = find_exposures("p", [names[0], *(names[1 + i] for i in order)])[1]
    assert list(found[0].frames) == names[1:]
    assert found[0].id == "a/x_1"
    reds = [f"train_sharp/000/{i:08d}.png" for i in range(40)]
    assert len(find_exposures("p", reds, group=count)[1]) == 40 // count


def test_reds_in_groups_of_seven() -> None:
    numbers = [*range(16), *range(20, 27), 40]
    folders = [f"{part}/{part}_{kind}/000" for part in ("train", "val") for kind in ("blur", "sharp", "sharp_bicubic")]
    names = [f"{folder}/{i:08d}.png" for folder in folders for i in numbers]
    layout, found = find_exposures("x", names, averaged="blur_7")
    assert layout == "reds"
    assert [one.split for one in found] == ["train"] * 3 + ["val"] * 3
    assert found[0].frames == tuple(f"train/train_sharp/000/{i:08d}.png" for i in range(7))
    assert found[0].blurry == "blur_7/train/train_sharp/000/00000003.png"
    assert [one.id for one in found[:3]] == [f"train/train_sharp/000/{i:08d}" for i in (0, 7, 20)]
    # What was averaged is not taken for frames the next time.
    names += [f"blur_7/train_sharp/000/{i:08d}.png" for i in range(7)]
    assert find_exposures("x", names, averaged="blur_7")[1] == found


def test_a_folder_of_any_name_is_reds_only_if_one_says_so() -> None:
    names = [f"film/{i}.png" for i in range(9)]
    with pytest.raises(UnblurError, match="holds no exposures with their frames"):
        find_exposures("x", names)
    assert len(find_exposures("x", names, layout="reds")[1]) == 1
    gopro = ["train/G1/blur/0001.png", "train/G1/sharp/0001.png"]
    with pytest.raises(UnblurError, match="holds no exposures in the layout rb2v"):
        find_exposures("x", gopro, layout="rb2v")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([*clip("a"), "b/blur/0.png"], "b/0 has no sharp frame"),
        ([*clip("a"), "b/sharp/0_1.png"], "b/0 has frames but no blurry picture"),
        ([*clip("a"), "a/blur/0000.jpg"], "holds both"),
        ([*clip("a"), "a/sharp/0000_01.png"], "holds both"),
        ([n for n in clip("a") if "_4" not in n], "a/0000 misses frame 4"),
        ([*clip("a"), *clip("b"), *clip("c", count=6)], "c/0000 has 6 frames, most have 7"),
        ([n for n in clip("a") if "_1" not in n], "a/0000 misses frame 1"),
    ],
)
def test_what_is_not_whole_is_named(names: list[str], problem: str) -> None:
    with pytest.raises(UnblurError, match=problem) as error:
        find_exposures("x", names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("sure", [[], [0.75]])
@pytest.mark.parametrize("kind", [list, tuple, np.float32, np.float64, np.int64])
def test_boxes_out_of_pickles(tmp_path: Path, protocol: int, sure: list[float], kind: type) -> None:
    numbers = [97, 12, 247, 212, *(sure if kind is not np.int64 else [])]
    box = kind(numbers) if kind in (list, tuple) else np.array(numbers, kind)
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps({"track_id": 0, "bbox": box, "keypoints": np.ones((4, 4))}, protocol))
    assert read_box(path) == tuple(map(float, numbers))


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("harm.txt", "w")


def test_no_annotation_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps({"x": Harmful(), "bbox": [1, 2, 3, 4]}))
    assert read_box(path) == (1, 2, 3, 4)
    assert not (tmp_path / "harm.txt").exists()
    path.write_bytes(pickle.dumps({"bbox": [np.float64(1), np.float32(2), np.int64(3), 4]}))
    assert read_box(path) == (1, 2, 3, 4)
    damaged = (b"", b"\x80", pickle.dumps(Harmful()), pickle.dumps({"bbox": Harmful()}))
    for contents in (*damaged, pickle.dumps({"bbox": [4, 2, 3, 4]}), pickle.dumps({"bbox": None})):
        path.write_bytes(contents)
        assert read_box(path) is None
    assert read_box(tmp_path / "none.pkl") is None

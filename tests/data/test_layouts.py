import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.layouts import find_pairs, match
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
    with pytest.raises(UnblurError, match="has no validation split"):
        find_pairs("x", RELEASED, split="val")
    with pytest.raises(UnblurError, match="nothing but its validation split"):
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

"""Clips there and back: how many frames, when, which colours; and what must be refused."""

from __future__ import annotations

import io
import struct
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.colours import rgb_of
from unblur.media.image import Picture
from unblur.media.video import read_clip, write_clip

KINDS = ("a.mp4", "a.gif", "a.webp", "a/")
FLAT = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
    (128, 128, 128),
    (200, 30, 90),
    (10, 200, 220),
]


def flat(height: int = 32, width: int = 48) -> Tensor:
    return (torch.tensor(FLAT).float() / 255).view(-1, 3, 1, 1).expand(-1, 3, height, width)


def moving(count: int = 6, height: int = 32, width: int = 48) -> Tensor:
    """A smooth picture that slides, so that neighbouring frames differ and can be told apart."""
    x, y = torch.linspace(0, 1, width), torch.linspace(0, 1, height).view(-1, 1)
    frames = []
    for number in range(count):
        light = 0.5 + 0.4 * ((x + 2 * y + 2 * number / count) * 2).sin()
        frames.append(torch.stack([light, light * 0.8 + 0.1 * y, light * 0.6 + 0.2 * x]))
    return torch.stack(frames)


def one_line(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(word in text for word in words), text


def encode(
    file: Path,
    frames: list[np.ndarray],
    *,
    container: str = "mp4",
    pixel: str = "yuv420p",
    codec: str = "libx264",
    rotation: int = 0,
    pts: list[int] | None = None,
    **context: int,
) -> Path:
    """A clip by other means than the library's; the tags in `context` are written without looking at the pixels."""
    with av.open(str(file), "w", format=container) as output:
        track = output.add_stream(codec, rate=25, options={"crf": "5"} if codec == "libx264" else {})
        track.height, track.width, track.pix_fmt = *frames[0].shape[:2], pixel
        if rotation:
            track.set_display_rotation(rotation)
        for name, value in context.items():
            setattr(track.codec_context, name, value)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pixel)
            frame.pts, frame.time_base = pts[number] if pts else number, Fraction(1, 25)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return file


# --- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_frame_comes_back_in_order(tmp_path: Path, name: str, count: int) -> None:
    frames = moving(count)
    path = write_clip(f"{tmp_path}/{name}", iter(frames), count=count)
    clip = read_clip(path)
    back = torch.stack(list(clip))
    assert (clip.width, clip.height, clip.count, len(clip.times)) == (48, 32, count, count)
    assert back.shape == frames.shape
    assert back.dtype == torch.float32
    assert (back - frames).abs().mean() < 0.02
    distances = (back[:, None] - frames[None]).abs().mean(dim=(2, 3, 4))
    assert distances.argmin(1).tolist() == list(range(count))
    # Again, from the file: nothing was used up.
    assert torch.equal(torch.stack(list(clip)), back)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp"])
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 23.976, 12.5, 1.0, 50.0])
def test_times_are_right(tmp_path: Path, name: str, fps: float) -> None:
    clip = read_clip(write_clip(tmp_path / name, moving(8, 16, 16), fps=fps))
    grain = {"a.mp4": 1e-6, "a.gif": 0.0051, "a.webp": 0.00051}[name]
    expected = [number / fps for number in range(8)]
    assert clip.times[0] == 0
    np.testing.assert_allclose(clip.times, expected, atol=grain + 2e-6 * fps)
    assert clip.fps == pytest.approx(fps, rel=0.04 if name == "a.gif" else 0.02 if name == "a.webp" else 1e-5)
    if name == "a.mp4":
        with av.open(str(tmp_path / name)) as file:
            shown = [float(frame.pts * frame.time_base) for frame in file.decode(video=0)]
            assert float(file.duration / av.time_base) == pytest.approx(8 / fps, abs=1e-4)
        np.testing.assert_allclose(shown, expected, atol=1e-6)


@pytest.mark.parametrize("fps", [0.01, 1000])
def test_extreme_rates(tmp_path: Path, fps: float) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", moving(3), fps=fps))
    np.testing.assert_allclose(clip.times, [0, 1 / fps, 2 / fps], rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_name_that_the_system_does_not_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnblurError, match="cannot be"):
        write_clip(f"{tmp_path}/{'n' * 300}{name}", moving(2))
    with pytest.raises(UnblurError, match="cannot be"):
        read_clip(f"{tmp_path}/{'n' * 300}{name}")
    assert not list(tmp_path.iterdir())


def test_a_folder_says_no_rate(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a", moving(3), fps=50))
    assert clip.fps == 25
    assert clip.times == (0, 1 / 25, 2 / 25)


@pytest.mark.parametrize(("name", "bound"), [("a.mp4", 3), ("a.gif", 0), ("a.webp", 3), ("a/", 0)])
def test_flat_colours(tmp_path: Path, name: str, bound: int) -> None:
    frames = flat()
    back = torch.stack(list(read_clip(write_clip(f"{tmp_path}/{name}", frames))))
    assert ((back - frames) * 255).abs().max() <= bound + 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_a_still_clip_keeps_its_frames(tmp_path: Path, name: str) -> None:
    # Encoders like to drop frames that equal the one before.
    path = write_clip(f"{tmp_path}/{name}", torch.full((9, 3, 20, 20), 0.5), fps=20)
    clip = read_clip(path)
    assert clip.count == sum(1 for _ in clip) == 9
    np.testing.assert_allclose(clip.times[:3], [0, 0.05, 0.1] if name != "a/" else [0, 0.04, 0.08], atol=1e-6)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 19), width=st.integers(1, 19), name=st.sampled_from(KINDS), count=st.integers(1, 3))
def test_any_size(tmp_path: Path, height: int, width: int, name: str, count: int) -> None:
    grey = torch.full((count, 3, height, width), 0.6)
    clip = read_clip(write_clip(f"{tmp_path}/{name}", grey))
    even = name == "a.mp4"
    assert (clip.height, clip.width) == (height + even * (height % 2), width + even * (width % 2))
    assert clip.count == count
    assert all((frame - 0.6).abs().max() < 4 / 255 for frame in clip)


def test_odd_sizes_grow_by_a_copy_of_the_edge(tmp_path: Path) -> None:
    frames = torch.zeros(3, 3, 15, 21)
    frames[..., -1] = 1
    (back, *_) = read_clip(write_clip(tmp_path / "a.mp4", frames))
    assert back.shape == (3, 16, 22)
    assert back[:, :, 20:].min() > 0.9
    assert back[:, 15].sub(back[:, 14]).abs().max() < 0.05


def test_mp4_says_what_is_in_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", moving(3))
    with av.open(str(tmp_path / "a.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1, 13)
        assert len(file.streams) == 1
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_gif_has_one_palette_and_loops_as_told(tmp_path: Path) -> None:
    for loop in (True, False):
        data = write_clip(tmp_path / "a.gif", moving(4), loop=loop).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert image.info.get("loop") == (0 if loop else None)
            assert image.n_frames == 4
        # A local palette would set the top bit of the flags of an image descriptor.
        assert all(not flags & 0x80 for flags in descriptor_flags(data))


def descriptor_flags(data: bytes) -> Iterator[int]:
    position = 13 + (3 << (data[10] & 7) + 1)
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            yield data[position + 9]
            position += 11
        else:
            position += 2
        while data[position]:
            position += 1 + data[position]
        position += 1


def test_webp_loops_as_told(tmp_path: Path) -> None:
    for loop, expected in ((True, 0), (False, 1)):
        with Image.open(write_clip(tmp_path / "a.webp", moving(4), loop=loop)) as image:
            assert (image.n_frames, image.info["loop"]) == (4, expected)


def test_values_are_clamped_and_rounded(tmp_path: Path) -> None:
    values = torch.tensor([-3.0, 0.4999 / 255, 0.5001 / 255, 2.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    (back,) = read_clip(write_clip(f"{tmp_path}/a/", values))
    assert (back[0, 0] * 255).tolist() == [0, 0, 1, 255]


def test_frames_are_streamed(tmp_path: Path) -> None:
    given: list[weakref.ref[Tensor]] = []

    def frames() -> Iterator[Tensor]:
        for number in range(40):
            assert sum(frame() is not None for frame in given) <= 3
            frame = torch.full((3, 16, 16), number / 40)
            given.append(weakref.ref(frame))
            yield frame

    for name in KINDS:
        given.clear()
        write_clip(f"{tmp_path}/{name}", frames(), count=40)


def test_reading_stops_where_the_reader_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unblur.media import stream

    decoded = []
    monkeypatch.setattr(stream, "rgb_of", lambda *given: decoded.append(1) or rgb_of(*given))
    frames = iter(read_clip(write_clip(tmp_path / "a.mp4", moving(40))))
    decoded.clear()
    next(frames)
    assert len(decoded) == 1


def test_reading_while_writing_over_the_same_file(tmp_path: Path) -> None:
    for name in KINDS:
        path = write_clip(f"{tmp_path}/{name}", moving(4))
        write_clip(f"{tmp_path}/{name}", (1 - frame for frame in read_clip(path)))
        assert (torch.stack(list(read_clip(path))) - (1 - moving(4))).abs().mean() < 0.03


# --- clips of others ------------------------------------------------------------------------------------------------


def marked() -> list[np.ndarray]:
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:12, :12] = 255
    return [frame] * 3


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, "top left"), (-90, "top right"), (180, "bottom right"), (90, "bottom left")]
)
def test_rotation_is_applied(tmp_path: Path, rotation: int, corner: str) -> None:
    clip = read_clip(encode(tmp_path / "a.mp4", marked(), rotation=rotation))
    assert (clip.width, clip.height) == ((64, 32) if rotation in (0, 180) else (32, 64))
    seen = next(iter(clip)).mean(0)
    row, column = corner.split()
    block = seen[:8] if row == "top" else seen[-8:]
    assert (block[:, :8] if column == "left" else block[:, -8:]).min() > 0.8
    assert seen.mean() < 0.15


def test_matroska_avi_and_variable_rate(tmp_path: Path) -> None:
    frames = [(frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in moving(6)]
    clip = read_clip(encode(tmp_path / "a.mkv", frames, container="matroska", pts=[0, 1, 3, 4, 8, 9]))
    np.testing.assert_allclose(clip.times, [0, 0.04, 0.12, 0.16, 0.32, 0.36], atol=0.0011)
    assert sum(1 for _ in clip) == 6
    clip = read_clip(encode(tmp_path / "a.avi", frames, container="avi", codec="mjpeg", pixel="yuvj420p"))
    assert clip.count == 6
    assert (torch.stack(list(clip)) - moving(6)).abs().mean() < 0.02


def test_matrix_and_range_of_the_file_are_used(tmp_path: Path) -> None:
    grey = [np.full((32, 48, 3), 128, np.uint8)] * 2
    # The same numbers, stored as limited range: Y = 126.
    plain = next(iter(read_clip(encode(tmp_path / "a.mp4", grey, color_range=1)))).mean()
    full = next(iter(read_clip(encode(tmp_path / "b.mp4", grey, color_range=2)))).mean()
    assert plain * 255 == pytest.approx(128, abs=1.5)
    assert full * 255 == pytest.approx(126, abs=1.5)
    red = [np.full((32, 48, 3), (200, 40, 60), np.uint8)] * 2
    small = next(iter(read_clip(encode(tmp_path / "c.mp4", red, colorspace=5)))).mean((1, 2)) * 255
    large = next(iter(read_clip(encode(tmp_path / "d.mp4", red, colorspace=1)))).mean((1, 2)) * 255
    assert (small - torch.tensor([200.0, 40.0, 60.0])).abs().max() < 3
    assert (small - large).abs().max() > 8


def test_ten_bits_keep_their_steps(tmp_path: Path) -> None:
    ramp = np.linspace(0.3, 0.5, 512)[None, :, None].repeat(16, 0).repeat(3, 2)
    frame = av.VideoFrame.from_ndarray((ramp * 65535).astype(np.uint16), format="rgb48le").reformat(
        format="yuv420p10le"
    )
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        track = file.add_stream("libx264", rate=25, options={"crf": "1"})
        track.width, track.height, track.pix_fmt = 512, 16, "yuv420p10le"
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        file.mux([*track.encode(frame), *track.encode(None)])
    (back,) = read_clip(tmp_path / "a.mp4")
    # 20 % of 256 levels would be 51.
    assert (back[1, 8] * 65535).round().unique().numel() > 100


def test_transparent_gif_is_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 4, 8))
    image.save(tmp_path / "a.gif", transparency=1)
    (frame,) = read_clip(tmp_path / "a.gif")
    assert frame[:, :, :4].min() > 0.99
    assert frame[1, :, 4:].max() < 0.01


def test_transparent_webp_is_on_white(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (255, 0)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[30, 70], lossless=True)
    clip = read_clip(tmp_path / "a.webp")
    first, second = clip
    assert first[1].max() < 0.01
    assert second.min() > 0.99
    assert clip.times == (0, 0.03)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "a.webp"):
        write_clip(tmp_path / name, moving(3)).rename(tmp_path / "b.dat")
        assert read_clip(tmp_path / "b.dat").count == 3


@pytest.mark.parametrize("name", KINDS)
def test_any_characters_in_a_name(tmp_path: Path, name: str) -> None:
    target = f"{tmp_path}/фильм 写真/pipe:0 http: %03d ü'{name}"
    assert read_clip(write_clip(target, moving(3))).count == 3


def test_relative_name_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_clip(write_clip("a:b.mp4", moving(2))).count == 2


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Picture(torch.full((3, 4, 4), number / 255)).save(tmp_path / f"f{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    assert [round(float(frame.mean() * 255)) for frame in read_clip(tmp_path)] == [1, 9, 10]


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(path: Path, *words: str, **options: int) -> None:
    with pytest.raises(UnblurError) as caught:
        list(read_clip(path, **options))
    one_line(caught.value, path.name, *words)


def test_missing_empty_and_other_files(tmp_path: Path) -> None:
    refused(tmp_path / "a.mp4", "does not exist")
    (tmp_path / "a.mp4").touch()
    refused(tmp_path / "a.mp4", "is empty")
    for data in (
        b"some text that is no clip",
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
    ):
        (tmp_path / "a.mp4").write_bytes(data)
        refused(tmp_path / "a.mp4", "is not an MP4", "convert")
    Picture(torch.rand(3, 4, 4)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "is not an MP4")


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path, "without pictures")


def test_folder_with_two_sizes(tmp_path: Path) -> None:
    Picture(torch.rand(3, 4, 4)).save(tmp_path / "1.png")
    Picture(torch.rand(3, 4, 5)).save(tmp_path / "2.png")
    refused(tmp_path, "frame 2", "5 x 4", "4 x 4")


def test_folder_with_a_broken_picture(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", moving(3))
    (tmp_path / "a" / "frame_00001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnblurError, match=r"frame_00001\.png"):
        list(read_clip(tmp_path / "a"))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a.mkv", "a.avi"])
@pytest.mark.parametrize("part", [10, 0.3, 0.6, 0.95, -1])
def test_truncated(tmp_path: Path, name: str, part: float) -> None:
    if name in ("a.mkv", "a.avi"):
        frames = [(frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in moving(6)]
        other = {"codec": "mjpeg", "pixel": "yuvj420p"} if name == "a.avi" else {}
        encode(tmp_path / name, frames, container={"a.mkv": "matroska", "a.avi": "avi"}[name], **other)
    else:
        write_clip(tmp_path / name, moving(6))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: part if isinstance(part, int) else int(part * len(data))])
    refused(tmp_path / name, "truncated" if part != 10 else "")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.mp4", "a.gif", "a.webp"]),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=5),
)
@example(name="a.mp4", changes=[(356, 128)])  # a metadata key that is not text
def test_hostile_bytes_raise_nothing_but_our_error(tmp_path: Path, name: str, changes: list[tuple[int, int]]) -> None:
    whole = tmp_path / f"whole-{name}"
    if not whole.exists():
        write_clip(whole, moving(3, 16, 16))
    data = bytearray(whole.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / name).write_bytes(data)
    try:
        clip = read_clip(tmp_path / name, max_pixels=10**6)
        assert len(clip.times) >= 0
        assert all(frame.isfinite().all() for frame in clip)
    except UnblurError as error:
        one_line(error, name)


def test_bomb(tmp_path: Path) -> None:
    for name in KINDS:
        path = write_clip(f"{tmp_path}/{name}", moving(2))
        with pytest.raises(UnblurError) as caught:
            read_clip(path, max_pixels=48 * 32 - 1)
        one_line(caught.value, "48 x 32", "`max_pixels=1536")
        assert read_clip(path, max_pixels=48 * 32).count == 2
    gif = bytearray((tmp_path / "a.gif").read_bytes())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    (tmp_path / "a.gif").write_bytes(gif)
    refused(tmp_path / "a.gif", "65535 x 65535", "`max_pixels")


def test_sound_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        track = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux([*track.encode(frame), *track.encode(None)])
    refused(tmp_path / "a.mp4", "no video")


@pytest.mark.parametrize("name", ["a.mov", "a.png", "a.txt", "a.jpg"])
def test_unknown_kind_of_output(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnblurError) as caught:
        write_clip(tmp_path / name, moving(2))
    one_line(caught.value, name, ".mp4", "/")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "fps"),
    [("a.gif", 60), ("a.webp", 120), ("a.mp4", 0), ("a.mp4", -1), ("a.mp4", float("nan")), ("a.mp4", 1e6)],
)
def test_impossible_rate(tmp_path: Path, name: str, fps: float) -> None:
    with pytest.raises(UnblurError) as caught:
        write_clip(tmp_path / name, moving(2), fps=fps)
    one_line(caught.value, name, "`fps")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "longest"), [("a.mp4", 16384), ("a.webp", 16383), ("a.gif", 65535)])
def test_too_large_for_the_kind(tmp_path: Path, name: str, longest: int) -> None:
    with pytest.raises(UnblurError) as caught:
        write_clip(tmp_path / name, torch.zeros(1, 3, 1, longest + 1))
    one_line(caught.value, name, str(longest), "end the name with /")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", KINDS)
def test_failure_in_the_middle_leaves_nothing(tmp_path: Path, name: str) -> None:
    def failing() -> Iterator[Tensor]:
        yield from moving(4)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_clip(f"{tmp_path}/new/{name}", failing())
    assert not list(tmp_path.iterdir())
    # What was there before stays.
    path = write_clip(f"{tmp_path}/{name}", moving(3))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RuntimeError, match="out of memory"):
        write_clip(f"{tmp_path}/{name}", failing())
    assert sorted(tmp_path.rglob("*")) == before
    assert read_clip(path).count == 3


@pytest.mark.parametrize("name", KINDS)
def test_wrong_frames_leave_nothing(tmp_path: Path, name: str) -> None:
    target = f"{tmp_path}/{name}"
    with pytest.raises(ValueError, match="no frames"):
        write_clip(target, iter(()))
    with pytest.raises(ValueError, match="5 frames were promised, 4 came"):
        write_clip(target, moving(4), count=5)
    with pytest.raises(ValueError, match="one size"):
        write_clip(target, [torch.zeros(3, 8, 8), torch.zeros(3, 8, 10)])
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        write_clip(target, [torch.zeros(1, 8, 8)])
    with pytest.raises(UnblurError) as caught:
        write_clip(target, [torch.full((3, 8, 8), float("inf"))])
    one_line(caught.value, "not numbers")
    assert not list(tmp_path.iterdir())


def test_lost_frames_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unblur.media import video

    write, *rest = video._WRITERS[".gif"]

    def losing(path: Path, frames: Iterator[np.ndarray], rate: Fraction, loop: bool) -> None:
        write(path, iter(list(frames)[:-1]), rate, loop)

    monkeypatch.setitem(video._WRITERS, ".gif", (losing, *rest))
    with pytest.raises(RuntimeError, match="4 frames were given, 3"):
        write_clip(tmp_path / "a.gif", moving(4))
    assert not list(tmp_path.iterdir())


def test_folder_replaces_its_like_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_clip(target, moving(5))
    write_clip(target, moving(2))
    assert [file.name for file in sorted(target.iterdir())] == ["frame_00000.png", "frame_00001.png"]
    (target / "holiday.png").write_bytes(b"mine")
    with pytest.raises(UnblurError) as caught:
        write_clip(target, moving(3))
    one_line(caught.value, "out", "holiday.png", "choose")
    assert len(list(target.iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UnblurError, match="is a file"):
        write_clip(f"{tmp_path}/file/", moving(3))


@pytest.mark.parametrize("name", KINDS)
def test_a_parent_that_is_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UnblurError) as caught:
        write_clip(f"{tmp_path}/file/{name}", moving(2))
    one_line(caught.value, "cannot be written", "choose")


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from unblur.media import video

    def full(*_: object) -> None:
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "a.mp4")

    monkeypatch.setitem(video._WRITERS, ".mp4", (full, *video._WRITERS[".mp4"][1:]))
    with pytest.raises(UnblurError) as caught:
        write_clip(tmp_path / "a.mp4", moving(2))
    one_line(caught.value, "a.mp4", "no space left", "free some space")
    assert not list(tmp_path.iterdir())

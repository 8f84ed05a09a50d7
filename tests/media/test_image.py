"""Every format, depth and kind of pixels there and back, and everything that must be refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from unblur.errors import UnblurError
from unblur.media.decode import picture_size
from unblur.media.image import DEFAULT_MAX_PIXELS, Picture, read_image, write_image

RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = (".png", ".tif", ".bmp", ".webp")


def noise(height: int, width: int, channels: int = 3, bits: int = 8, seed: int = 0) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels), dtype=kind)


def smooth(height: int = 40, width: int = 56) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, 255 - x * 2 - y], -1).clip(0, 255).astype(np.uint8)


def numbers(picture: Picture, bits: int | None = None) -> np.ndarray:
    top = 2 ** (bits or picture.bits) - 1
    planes = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha])
    return (planes * top).round().permute(1, 2, 0).numpy().astype(np.uint16)


def one_line(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(word in text for word in words), text


def png(array: np.ndarray, *extra: bytes) -> bytes:
    """An independent PNG writer, 16 bits, no filter."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def grey_profile() -> bytes:
    """A minimal grey ICC profile with gamma 1.8: header, white point, curve, description."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, int(1.8 * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    tags = [(b"kTRC", curve), (b"wtpt", white), (b"desc", text + bytes(-len(text) % 4))]
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = 128 + len(table) + len(body)
    head = struct.pack(">I", size) + b"lcms" + bytes([2, 0x10, 0, 0]) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    head += bytes(68 - len(head)) + struct.pack(">iii", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + body


# --- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_eight_bits_come_back_exactly(tmp_path: Path, suffix: str, grey: bool, alpha: bool) -> None:
    stored = noise(7, 9, 4)
    stored = np.concatenate([stored[:, :, [0, 0, 0]] if grey else stored[:, :, :3], stored[:, :, 3:]], 2)
    planes = torch.from_numpy(stored).permute(2, 0, 1).float() / 255
    picture = Picture(planes[:3], planes[3:] if alpha else None, grey=grey)
    back = read_image(picture.save(tmp_path / f"a{suffix}", quality=100))
    assert back.bits == 8
    assert (back.height, back.width) == (7, 9)
    # A BMP has no grey with alpha.
    assert back.grey == (grey and not (alpha and suffix == ".bmp"))
    assert (back.alpha is not None) == alpha
    np.testing.assert_array_equal(numbers(back), stored if alpha else stored[:, :, :3])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_come_back_exactly(tmp_path: Path, suffix: str, channels: int) -> None:
    planes = torch.linspace(0, 65535, 40 * 40).round().reshape(1, 40, 40).repeat(4, 1, 1) / 65535
    planes[1] = planes[0] if channels <= 2 else planes[0].flip(0)
    planes[2] = planes[0] if channels <= 2 else planes[0].T
    planes[3] = planes[0].flip(1)
    alpha = planes[3:] if channels in (2, 4) else None
    written = Picture(planes[:3], alpha, bits=16, grey=channels <= 2, icc=None if channels <= 2 else RGB_PROFILE)
    back = read_image(written.save(tmp_path / f"ramp{suffix}"))
    assert back.bits == 16
    assert back.grey == (channels <= 2)
    assert back.icc == written.icc
    assert torch.equal(back.pixels, written.pixels)
    assert back.pixels.unique().numel() > 256
    if alpha is not None:
        assert torch.equal(back.alpha, alpha)
    else:
        assert back.alpha is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_written_are_what_others_read(tmp_path: Path, channels: int) -> None:
    stored = noise(5, 6, channels, 16)
    planes = torch.from_numpy(stored.astype(np.float32)).permute(2, 0, 1) / 65535
    colours = 1 if channels <= 2 else 3
    picture = Picture(
        planes[:colours].expand(3, -1, -1), planes[colours:] if channels > colours else None, 16, colours == 1
    )
    np.testing.assert_array_equal(tifffile.imread(picture.save(tmp_path / "a.tif")).reshape(stored.shape), stored)
    seen = cv2.imdecode(np.fromfile(picture.save(tmp_path / "a.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    wanted = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(seen.reshape(5, 6, -1)[:, :, wanted], stored)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_from_another_png_writer(tmp_path: Path, channels: int) -> None:
    stored = noise(6, 5, channels, 16)
    (tmp_path / "a.png").write_bytes(png(stored))
    back = read_image(tmp_path / "a.png")
    assert back.bits == 16
    colours = stored[:, :, [0, 0, 0]] if channels <= 2 else stored[:, :, :3]
    expected = np.concatenate([colours, stored[:, :, -1:]], 2) if channels in (2, 4) else colours
    np.testing.assert_array_equal(numbers(back), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_of_a_deep_png(tmp_path: Path, channels: int) -> None:
    stored = noise(6, 5, channels, 16)
    key = chunk(b"tRNS", stored[2, 3].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png(stored, key))
    back = read_image(tmp_path / "a.png")
    expected = torch.ones(1, 6, 5)
    expected[0, 2, 3] = 0
    assert torch.equal(back.alpha, expected)
    assert back.grey == (channels == 1)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_sixteen_bit_tiff_of_another_writer(tmp_path: Path, compression: int) -> None:
    stored = noise(12, 9, 3, 16)
    done, data = cv2.imencode(".tif", stored[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert done
    (tmp_path / "a.tif").write_bytes(data.tobytes())
    back = read_image(tmp_path / "a.tif")
    assert back.bits == 16
    np.testing.assert_array_equal(numbers(back), stored)


@pytest.mark.parametrize("kind", ["planar", "tiles", "big", "big-endian", "white is zero", "multiplied alpha"])
def test_odd_layouts_of_sixteen_bit_tiff(tmp_path: Path, kind: str) -> None:
    stored, file = noise(32, 48, 3, 16), tmp_path / "a.tif"
    expected = stored
    if kind == "planar":
        tifffile.imwrite(file, np.moveaxis(stored, 2, 0), photometric="rgb", planarconfig="separate")
    elif kind == "tiles":
        tifffile.imwrite(file, stored, photometric="rgb", tile=(16, 16), compression="zlib")
    elif kind == "big":
        tifffile.imwrite(file, stored, photometric="rgb", bigtiff=True)
    elif kind == "big-endian":
        tifffile.imwrite(file, stored, photometric="rgb", byteorder=">")
    elif kind == "white is zero":
        tifffile.imwrite(file, stored[:, :, 0], photometric="miniswhite")
        expected = 65535 - stored[:, :, [0, 0, 0]]
    else:
        alpha = np.full((32, 48, 1), 32768, np.uint16)
        half = np.concatenate([stored // 2, alpha], 2)
        tifffile.imwrite(file, half, photometric="rgb", extrasamples=["assocalpha"])
        back = read_image(file)
        assert np.abs(numbers(back)[:, :, :3].astype(int) - stored).max() <= 2
        return
    back = read_image(file)
    assert back.bits == 16
    np.testing.assert_array_equal(numbers(back), expected)


def test_grey_lzw_with_white_zero(tmp_path: Path) -> None:
    stored = noise(16, 12, 1, 16)[:, :, 0]
    Image.fromarray(stored).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(numbers(read_image(tmp_path / "a.tif"))[:, :, 0], stored)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages.first.tags[262].valueoffset
    data[place : place + 2] = b"\0\0"
    (tmp_path / "b.tif").write_bytes(data)
    np.testing.assert_array_equal(numbers(read_image(tmp_path / "b.tif"))[:, :, 0], 65535 - stored)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str, grey: bool) -> None:
    planes = torch.from_numpy(smooth()).permute(2, 0, 1).float() / 255
    planes = planes.mean(0, True).expand(3, -1, -1) if grey else planes
    back = read_image(Picture(planes, grey=grey).save(tmp_path / f"a{suffix}"))
    assert (back.pixels - planes).abs().mean() < 2 / 255
    assert back.grey == grey


def test_quality_is_obeyed(tmp_path: Path) -> None:
    picture = Picture(torch.rand(3, 64, 64))
    for suffix in (".jpg", ".webp"):
        large, small = picture.save(tmp_path / f"a{suffix}", 95), picture.save(tmp_path / f"b{suffix}", 30)
        assert small.stat().st_size < large.stat().st_size / 2


def test_sixteen_bits_become_eight_where_the_format_has_no_more(tmp_path: Path) -> None:
    picture = Picture(torch.linspace(0, 1, 3 * 64 * 64).reshape(3, 64, 64), bits=16)
    for suffix in (".jpg", ".webp", ".bmp"):
        back = read_image(picture.save(tmp_path / f"a{suffix}", 100))
        assert back.bits == 8
        assert (back.pixels - picture.pixels).abs().mean() < 2 / 255


def test_jpeg_lays_alpha_over_white(tmp_path: Path) -> None:
    alpha = torch.ones(1, 16, 16)
    alpha[:, :, 8:] = 0
    back = read_image(Picture(torch.zeros(3, 16, 16), alpha).save(tmp_path / "a.jpg"))
    assert back.alpha is None
    assert back.pixels[:, :, :8].max() < 0.02
    assert back.pixels[:, :, 8:].min() > 0.98


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    suffix=st.sampled_from([*LOSSLESS, ".jpg"]),
    bits=st.sampled_from([8, 16]),
    grey=st.booleans(),
    alpha=st.booleans(),
)
def test_any_size_comes_back_with_its_size(
    tmp_path: Path, height: int, width: int, suffix: str, bits: int, grey: bool, alpha: bool
) -> None:
    pixels = torch.rand(1 if grey else 3, height, width).expand(3, -1, -1)
    written = Picture(pixels, torch.rand(1, height, width) if alpha else None, bits, grey)
    back = read_image(written.save(tmp_path / f"a{suffix}", 100))
    assert back.pixels.shape == (3, height, width)
    assert back.pixels.dtype == torch.float32
    assert back.pixels.is_contiguous()
    if suffix != ".jpg":
        assert (back.pixels - pixels).abs().max() <= 0.5 / (2**back.bits - 1) + 1e-6
        assert (back.alpha is not None) == alpha


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
def test_size_of_a_turned_tiff_is_that_of_its_pixels(tmp_path: Path, bits: int, layout: dict[str, object]) -> None:
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", noise(12, 9, 3, bits), photometric="rgb", extratags=turned, **layout)
    with (tmp_path / "a.tif").open("rb") as file:
        assert picture_size("a.tif", file) == (9, 12)
    if bits == 16 or len(layout) < 2:  # Pillow reads no large TIFF of that byte order
        assert read_image(tmp_path / "a.tif").pixels.shape == (3, 9, 12)


# --- kinds of pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit_is_grey(tmp_path: Path, suffix: str) -> None:
    bits = noise(9, 13, 1)[:, :, 0] > 127
    Image.fromarray(bits).save(tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.grey
    assert back.bits == 8
    np.testing.assert_array_equal(numbers(back)[:, :, 0], bits * 255)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes(tmp_path: Path, suffix: str, grey: bool) -> None:
    index = noise(9, 13, 1)[:, :, 0] % 5
    colours = noise(5, 1, 3)[:, 0]
    colours = colours[:, [0, 0, 0]] if grey else colours
    image = Image.frombytes("P", (13, 9), index.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.grey == grey
    np.testing.assert_array_equal(numbers(back), colours[index])


def test_palette_with_transparency(tmp_path: Path) -> None:
    index = (np.arange(20).reshape(4, 5) % 3).astype(np.uint8)
    image = Image.frombytes("P", (5, 4), index.tobytes())
    image.putpalette(bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    back = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal((back.alpha[0] * 255).round().numpy(), np.array([0, 128, 255])[index])
    again = read_image(back.save(tmp_path / "b.png"))
    assert torch.equal(again.alpha, back.alpha)
    assert torch.equal(again.pixels, back.pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparent_colour_becomes_alpha(tmp_path: Path, mode: str) -> None:
    array = noise(4, 5, len(mode))
    image = Image.fromarray(array.squeeze())
    key = tuple(int(value) for value in array[1, 2])
    image.save(tmp_path / "a.png", transparency=key[0] if mode == "L" else key)
    back = read_image(tmp_path / "a.png")
    assert back.grey == (mode == "L")
    assert back.alpha[0, 1, 2] == 0
    assert back.alpha.sum() == 19


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_of_another_writer(tmp_path: Path, mode: str, suffix: str) -> None:
    array = noise(6, 7, len(mode) if mode == "LA" else 4)
    Image.fromarray(array).save(
        tmp_path / f"a{suffix}", **({"lossless": True, "exact": True} if suffix == ".webp" else {})
    )
    back = read_image(tmp_path / f"a{suffix}")
    assert back.grey == (mode == "LA")
    np.testing.assert_array_equal(numbers(back)[:, :, [0, 3] if mode == "LA" else [0, 1, 2, 3]], array)


def test_bmp_with_an_unused_fourth_byte_is_opaque(tmp_path: Path) -> None:
    array = noise(6, 7, 4)
    array[:, :, 3] = 0
    (tmp_path / "a.bmp").write_bytes(cv2.imencode(".bmp", array)[1].tobytes())
    assert read_image(tmp_path / "a.bmp").alpha is None


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.icc is None
    assert not back.grey
    assert (back.pixels - torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)).abs().max() < 0.02


def test_cmyk_with_a_useless_profile_is_still_read(tmp_path: Path) -> None:
    broken = RGB_PROFILE[:16] + b"CMYK" + RGB_PROFILE[20:]
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.jpg", icc_profile=broken)
    back = read_image(tmp_path / "a.jpg")
    assert back.icc is None
    assert back.pixels[0].min() > 0.9


def test_cmyk_goes_through_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def convert(image: Image.Image, *arguments: object, **options: object) -> Image.Image:
        calls.append(arguments)
        return Image.new("RGB", image.size, (12, 34, 56))

    monkeypatch.setattr("unblur.media.profile.ImageCms.profileToProfile", convert)
    monkeypatch.setattr("unblur.media.profile.ImageCms.ImageCmsProfile", lambda stream: stream)
    profile = RGB_PROFILE[:16] + b"CMYK" + RGB_PROFILE[20:]
    Image.new("CMYK", (8, 6)).save(tmp_path / "a.jpg", icc_profile=profile)
    assert numbers(read_image(tmp_path / "a.jpg"))[0, 0].tolist() == [12, 34, 56]
    assert calls[0][0].getvalue() == profile


def test_unsupported_pixels(tmp_path: Path) -> None:
    for array in (np.zeros((4, 5), np.float32), np.zeros((4, 5), np.int32)):
        tifffile.imwrite(tmp_path / "a.tif", array)
        with pytest.raises(UnblurError) as caught:
            read_image(tmp_path / "a.tif")
        one_line(caught.value, "a.tif", "not supported", "16-bit")
    twelve = bytearray(encoded("JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "a.jpg").write_bytes(twelve)
    refused(tmp_path / "a.jpg", "not supported", "save it as")


def test_first_page_and_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    for name in ("a.tif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        pixels = read_image(tmp_path / name).pixels
        assert pixels[0].min() > 0.9
        assert pixels[2].max() < 0.1


# --- profile, orientation, exif -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_profile_is_kept_byte_for_byte(tmp_path: Path, suffix: str, bits: int) -> None:
    file = Picture(torch.rand(3, 6, 8), bits=bits, icc=RGB_PROFILE).save(tmp_path / f"a{suffix}")
    assert read_image(file).icc == RGB_PROFILE
    with Image.open(file) as image:
        assert image.info["icc_profile"] == RGB_PROFILE


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_profile_is_kept_on_grey(tmp_path: Path, suffix: str, bits: int) -> None:
    profile = grey_profile()
    picture = Picture(torch.rand(1, 6, 8).expand(3, -1, -1), bits=bits, grey=True, icc=profile)
    back = read_image(picture.save(tmp_path / f"a{suffix}"))
    assert back.icc == profile
    assert back.grey


def test_grey_profile_is_applied_where_it_cannot_be_kept(tmp_path: Path) -> None:
    picture = Picture(torch.full((3, 6, 8), 0.5), grey=True, icc=grey_profile())
    # Gamma 1.8: 0.5 is a light of 0.287, which sRGB stores as 0.573.
    for suffix in (".webp", ".bmp"):
        back = read_image(picture.save(tmp_path / f"a{suffix}", quality=100))
        assert back.icc is None
        assert (back.pixels - 0.573).abs().max() < 0.01, suffix


def test_grey_profile_is_not_put_on_colours(tmp_path: Path) -> None:
    assert read_image(Picture(torch.rand(3, 6, 8), icc=grey_profile()).save(tmp_path / "a.png")).icc is None


def test_bmp_turns_the_colours_into_srgb(tmp_path: Path) -> None:
    picture = Picture(torch.rand(3, 6, 8), torch.rand(1, 6, 8), icc=RGB_PROFILE)
    back = read_image(picture.save(tmp_path / "a.bmp"))
    assert (back.pixels - picture.pixels).abs().max() < 2.5 / 255
    assert (back.alpha - picture.alpha).abs().max() <= 0.51 / 255


def stored_for(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that a camera stores so that `orientation` makes them upright, straight from the EXIF table."""
    # Row 0 of the stored picture is this side of the seen one, column 0 that side.
    sides = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }
    row, column = sides[orientation]
    picture = upright
    if "right" in (row, column):
        picture = picture[:, ::-1]
    if "bottom" in (row, column):
        picture = picture[::-1]
    return np.ascontiguousarray(picture.swapaxes(0, 1) if row in ("left", "right") else picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "png16", "tif16", "tif16 lzw", "tif16 grey"])
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, kind: str) -> None:
    scale = 257 if "16" in kind else 1
    seen = np.zeros((16, 32, 3), np.uint16 if "16" in kind else np.uint8)
    seen[:8, :8] = 255 * scale
    stored, file = stored_for(seen, orientation), tmp_path / f"a.{kind.split('1')[0]}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "png16":
        file.write_bytes(png(stored, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    elif kind in ("tif16", "tif16 grey"):
        grey = kind.endswith("grey")
        tifffile.imwrite(
            file,
            stored[:, :, 0] if grey else stored,
            photometric="minisblack" if grey else "rgb",
            extratags=[(0x0112, "H", 1, orientation, True)],
        )
    elif kind == "tif16 lzw":
        # OpenCV can write LZW but no orientation: put the tag in place of the resolution unit.
        data = cv2.imencode(".tif", stored, [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_RESUNIT, 2])[1].tobytes()
        file.write_bytes(with_orientation(data, orientation))
    else:
        Image.fromarray(stored).save(file, exif=exif, **({"quality": 95} if kind != "tif" else {}))
    picture = read_image(file)
    assert (picture.height, picture.width) == (16, 32)
    marked = picture.pixels.mean(0)
    assert marked[:7, :7].min() > 0.8
    assert marked[9:].max() < 0.2
    assert marked[:, 9:].max() < 0.2
    for suffix in (".png", ".jpg", ".tif", ".webp", ".bmp"):
        written = picture.save(tmp_path / f"out{suffix}")
        with Image.open(written) as image:
            assert image.getexif().get(0x0112, 1) == 1
            assert image.size == (32, 16)
        assert (read_image(written).pixels - picture.pixels).abs().max() < 0.25


def with_orientation(tiff: bytes, orientation: int) -> bytes:
    """Turn the entry before orientation's place in the first directory into orientation."""
    data = bytearray(tiff)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [bytes(data[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in (274, 284)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    body = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    data[4:8] = struct.pack("<I", len(data))
    return bytes(data) + body


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_is_kept_without_what_would_be_wrong(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Maker", "2024:05:06 07:08:09"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0xA002: 4000, 0xA003: 3000})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.0)})
    # Pillow writes the sub-directories of a TIFF file only if they have been read from somewhere.
    exif.load(exif.tobytes())
    for directory in (0x8769, 0x8825):
        exif.get_ifd(directory)
    Image.new("RGB", (8, 6)).save(tmp_path / f"a{suffix}", exif=exif)
    picture = read_image(tmp_path / f"a{suffix}")
    for bits, out in ((8, ".jpg"), (8, ".png"), (8, ".webp"), (16, ".png")):
        file = Picture(picture.pixels, bits=bits, exif=picture.exif).save(tmp_path / f"b{out}")
        with Image.open(file) as image:
            kept = image.getexif()
            assert kept[0x010F] == "Maker"
            assert kept[0x0132] == "2024:05:06 07:08:09"
            assert 0x0112 not in kept
            assert kept.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
            assert 0xA002 not in kept.get_ifd(0x8769)
            assert kept.get_ifd(0x8825)[1] == "N"


def test_malformed_exif_costs_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(64)))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.pixels.shape == (3, 6, 8)
    assert picture.exif is None


# --- pictures in memory ---------------------------------------------------------------------------------------------


def test_with_pixels_keeps_the_rest() -> None:
    picture = Picture(torch.zeros(3, 4, 5), torch.ones(1, 4, 5), 16, True, b"icc", Path("a.png"), b"exif")
    other = picture.with_pixels(torch.rand(3, 4, 5))
    assert (other.bits, other.grey, other.icc, other.path, other.exif) == (16, True, b"icc", Path("a.png"), b"exif")
    assert other.alpha is picture.alpha
    assert torch.equal(other.pixels[0], other.pixels[1])
    with pytest.raises(ValueError, match=r"\(3, 4, 5\)"):
        picture.with_pixels(torch.rand(3, 5, 4))


def test_values_outside_are_clamped_and_rounded(tmp_path: Path) -> None:
    values = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]).view(1, 1, 6).expand(3, -1, -1)
    back = read_image(write_image(tmp_path / "a.png", Picture(values)))
    assert numbers(back)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnblurError) as caught:
        Picture(torch.full((3, 2, 2), float("nan"))).save(tmp_path / "a.png")
    one_line(caught.value, "a.png", "not numbers")
    assert not list(tmp_path.iterdir())


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_any_characters_in_a_name(tmp_path: Path, suffix: str) -> None:
    name = tmp_path / "фото 写真 ünï" / f"été 🌊 %d {{}} 'q'{suffix}"
    picture = Picture(torch.rand(3, 4, 5), bits=16)
    assert read_image(picture.save(name)).pixels.shape == (3, 4, 5)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_content_decides_not_the_name(tmp_path: Path, suffix: str) -> None:
    picture = Picture(torch.rand(3, 8, 8))
    for other in (".png", ".jpg", ".txt", ""):
        written = picture.save(tmp_path / f"a{suffix}", 100)
        moved = written.rename(tmp_path / f"moved{other}")
        assert (read_image(moved).pixels - picture.pixels).abs().mean() < 0.05


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = tmp_path / ("n" * 251 + ".png")
    assert Picture(torch.rand(3, 2, 2)).save(name).is_file()


def test_upper_case_suffix(tmp_path: Path) -> None:
    file = Picture(torch.rand(3, 4, 5)).save(tmp_path / "A.JPG")
    assert file.read_bytes()[:2] == b"\xff\xd8"


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(path: Path, *words: str, **options: int) -> None:
    with pytest.raises(UnblurError) as caught:
        read_image(path, **options)
    one_line(caught.value, path.name, *words)


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "a.png", "does not exist", "check the name")
    refused(tmp_path / "a" / "b.png", "does not exist")


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    refused(tmp_path / "f" / "a.png", "cannot be read")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    refused(tmp_path / "a.png", "is empty")


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "ordinary file")


@pytest.mark.parametrize(
    "data",
    [
        b"hello world, this is text",
        b"x",
        b"%PDF-1.7",
        b"GIF89a" + bytes(40),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"P6 4 4 255\n" + bytes(48),
    ],
)
def test_not_an_image(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "not a PNG, JPEG, TIFF, WebP or BMP", "convert")


def encoded(kind: str) -> bytes:
    output = io.BytesIO()
    if kind == "PNG16":
        return png(noise(24, 32, 3, 16))
    if kind.startswith("TIFF16"):
        compression = {"TIFF16": None, "TIFF16Z": "zlib"}[kind]
        tifffile.imwrite(output, noise(24, 32, 3, 16), photometric="rgb", compression=compression)
    elif kind == "JPEGP":
        Image.fromarray(noise(64, 64)).save(output, "JPEG", progressive=True)
    else:
        Image.fromarray(noise(24, 32)).save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "JPEGP", "TIFF", "WEBP", "BMP", "PNG16", "TIFF16", "TIFF16Z"])
@pytest.mark.parametrize("part", [16, 40, 0.3, 0.6, 0.9, -4, -1])
def test_truncated(tmp_path: Path, kind: str, part: float) -> None:
    data = encoded(kind)
    keep = part if isinstance(part, int) else int(part * len(data))
    if kind in ("TIFF16", "TIFF16Z", "TIFF") and part in (-4, -1) and image_ends_before(data, len(data) + part):
        pytest.skip("what is cut off is not needed")
    (tmp_path / "a.bin").write_bytes(data[:keep])
    with pytest.raises(UnblurError) as caught:
        read_image(tmp_path / "a.bin")
    one_line(caught.value, "a.bin", "copy or download it again")
    if part in (0.6, 0.9) and kind != "WEBP":
        one_line(caught.value, "truncated")


def image_ends_before(data: bytes, end: int) -> bool:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        return max(a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=True)) <= end


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PNG16", "TIFF16", "TIFF16Z"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 600),
)
def test_hostile_bytes_raise_nothing_but_our_error(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(encoded(kind))
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / "a.bin").write_bytes(data[: len(data) - cut])
    try:
        picture = read_image(tmp_path / "a.bin", max_pixels=10**6)
    except UnblurError as error:
        one_line(error, "a.bin")
    else:
        assert picture.pixels.isfinite().all()


@pytest.mark.parametrize("junk", [b"\0", b"\x12\x34" * 8])
def test_stray_bytes_between_segments_of_a_jpeg_are_passed_over(tmp_path: Path, junk: bytes) -> None:
    data = encoded("JPEG")
    place = data.index(b"\xff\xdb")
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data[:place] + junk + data[place:])
    assert torch.equal(read_image(tmp_path / "a.jpg").pixels, read_image(tmp_path / "b.jpg").pixels)


def test_odd_tags_of_a_tiff_say_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded("TIFF16"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages.first.tags[282].offset
    data[place + 2 : place + 4] = struct.pack("<H", 99)
    (tmp_path / "a.tif").write_bytes(data)
    program = "import sys; from unblur.media.image import read_image; read_image(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.tif")], check=True)
    assert capfd.readouterr() == ("", "")


def test_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "damaged")


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_no_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    (tmp_path / "a.png").write_bytes(with_png_size(width, height))
    refused(tmp_path / "a.png", "no pixels")
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    (tmp_path / "a.bmp").write_bytes(bmp)
    refused(tmp_path / "a.bmp", "no pixels")
    jpeg = bytearray(encoded("JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", height, width)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    refused(tmp_path / "a.jpg", "no pixels")


def with_png_size(width: int, height: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for decoder in (PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(decoder, "load", lambda *_: pytest.fail("decoded"))
    # Pillow makes room for a WebP when it opens it.
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_open", lambda *_: pytest.fail("opened"))
    (tmp_path / "a.png").write_bytes(with_png_size(30000, 30000))
    refused(tmp_path / "a.png", "30000 x 30000", str(DEFAULT_MAX_PIXELS), "`max_pixels=900000000")
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (99_999).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x)
    refused(tmp_path / "a.webp", "100000 x 100000", "`max_pixels")
    for bits in (8, 16):
        output = io.BytesIO()
        tifffile.imwrite(output, noise(8, 8, 3, bits), photometric="rgb")
        data = bytearray(output.getvalue())
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for tag in (256, 257):
                place = file.pages.first.tags[tag]
                data[place.offset + 2 : place.offset + 12] = struct.pack("<HII", 4, 1, 30000)
        (tmp_path / "a.tif").write_bytes(data)
        refused(tmp_path / "a.tif", "30000 x 30000", "`max_pixels=900000000")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PNG16", "TIFF16"])
def test_limit_counts_pixels_and_can_be_raised(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.bin").write_bytes(encoded(kind))
    refused(tmp_path / "a.bin", "32 x 24 = 768", "`max_pixels=768", max_pixels=767)
    assert read_image(tmp_path / "a.bin", max_pixels=768).width == 32


def test_pillows_own_limit_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        (tmp_path / "a.bin").write_bytes(encoded(kind))
        assert read_image(tmp_path / "a.bin").width == 32


def test_camera_raw_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.nef", noise(8, 8), photometric="rgb", subfiletype=1)
    refused(tmp_path / "a.nef", "camera raw", "16-bit TIFF")


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.xyz", "a", "a.mp4", ".png"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnblurError) as caught:
        Picture(torch.rand(3, 2, 2)).save(tmp_path / name)
    one_line(caught.value, name, ".png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_unwritable_place(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / f"folder{suffix}").mkdir()
    for name, words in ((f"file/a{suffix}", "cannot be written"), (f"folder{suffix}", "is a folder")):
        with pytest.raises(UnblurError) as caught:
            Picture(torch.rand(3, 2, 2)).save(tmp_path / name)
        one_line(caught.value, name, words)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", f"folder{suffix}"]


def test_too_long_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(UnblurError) as caught:
        Picture(torch.zeros(3, 1, 16384)).save(tmp_path / "a.webp")
    one_line(caught.value, "a.webp", "16383", ".png")


def test_failed_encoder_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Picture(torch.rand(3, 4, 4)).save(tmp_path / "a.png")
    before = file.read_bytes()
    monkeypatch.setattr("unblur.media.image.encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Picture(torch.rand(3, 4, 4)).save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

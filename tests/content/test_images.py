"""Covers as they come from outside: each way to be wrong, and each odd mode that is fine."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from producers.content.images import ImageTransform
from vidtopics.images import decode_cover

RED = (255, 0, 0)


def file(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def noise(height: int = 64, width: int = 48) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def test_no_bytes_are_a_missing_cover():
    assert decode_cover(None, max_pixels=100).problem == "missing"


@pytest.mark.parametrize(
    "data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image_is_unreadable(data):
    assert decode_cover(data, max_pixels=100).problem == "unreadable"


def test_formats_outside_the_list_are_not_opened():
    assert decode_cover(file(noise(), "TIFF"), max_pixels=10_000).problem == "unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_short_is_truncated_and_not_half_grey(kind, share):
    data = file(noise(), kind)
    assert decode_cover(data, max_pixels=10_000).problem is None
    assert decode_cover(data[: int(len(data) * share)], max_pixels=10_000).problem in (
        "truncated",
        "unreadable",
    )


def test_a_cut_jpeg_is_named_truncated():
    data = file(noise(), "JPEG")
    assert decode_cover(data[:-200], max_pixels=10_000).problem == "truncated"


def test_a_bomb_is_named_from_its_header_alone():
    """30,000 x 30,000 pixels would be 2.7 GB; the header's 33 bytes are all that is read."""
    header = bytearray(file(Image.new("RGB", (1, 1)), "PNG"))
    header[16:24] = (30_000).to_bytes(4, "big") * 2

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    assert decode_cover(bytes(header), max_pixels=50_000_000).problem == "bomb"


def test_the_pixel_limit_is_inclusive():
    data = file(Image.new("RGB", (10, 10)), "PNG")
    assert decode_cover(data, max_pixels=100).pixels.shape == (10, 10, 3)
    assert decode_cover(data, max_pixels=99).problem == "bomb"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_png_modes_become_rgb(mode):
    pixels = decode_cover(
        file(Image.new("RGB", (3, 2), "white").convert(mode), "PNG"), max_pixels=6
    ).pixels
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == np.full((2, 3, 3), 255).tolist()


def test_palette_gives_its_colours():
    image = Image.new("RGB", (3, 2), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode_cover(file(image, "PNG"), max_pixels=6).pixels[0, 0].tolist() == [255, 0, 0]


def test_cmyk_gives_its_colours():
    image = Image.new("RGB", (16, 16), RED).convert("CMYK")
    pixel = decode_cover(file(image, "JPEG", quality=95), max_pixels=256).pixels[8, 8].astype(int)
    assert np.abs(pixel - RED).max() <= 4


def test_transparency_lies_on_white():
    """Half-transparent black on white: 255 * (1 - 128 / 255) = 127; a hidden colour never shows."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 128))
    image.putpixel((1, 0), (0, 255, 0, 0))
    assert decode_cover(file(image, "PNG"), max_pixels=2).pixels[0].tolist() == [
        [127, 127, 127],
        [255, 255, 255],
    ]


def test_sixteen_bits_keep_their_high_byte():
    """0x7FFF of 0xFFFF is mid-grey, 0x7F; Pillow's own conversion clips it to white."""
    data = file(Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16)), "PNG")
    assert decode_cover(data, max_pixels=3).pixels[0, :, 0].tolist() == [0, 0x7F, 0xFF]


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_cover(data, max_pixels=16).pixels[0, 0].tolist() == [255, 0, 0]


def test_a_rotated_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter to the right
    assert decode_cover(
        file(Image.new("RGB", (8, 4)), "JPEG", exif=exif), max_pixels=32
    ).pixels.shape == (8, 4, 3)


@settings(max_examples=100)
@given(
    position=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    cut=st.integers(0, 10_000),
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]),
)
def test_damaged_bytes_never_raise(position, byte, cut, kind):
    data = bytearray(file(noise(16, 16), kind))
    data[position % len(data)] = byte
    cover = decode_cover(bytes(data[: cut % len(data) + 1]), max_pixels=100_000)
    assert (cover.pixels is None) != (cover.problem is None)
    assert cover.pixels is None or (cover.pixels.dtype, cover.pixels.shape[2:]) == (np.uint8, (3,))


def test_transform_normalises_each_channel():
    """Channel c of a plain (51, 102, 255) cover: (value / 255 - mean) / std."""
    cover = np.broadcast_to(np.array([51, 102, 255], np.uint8), (5, 9, 3))
    images = ImageTransform(4, (0.5, 0.4, 0.0), (0.5, 0.2, 2.0), "bicubic")(cover)
    assert images.shape == (3, 4, 4)
    assert images.dtype == np.float32
    np.testing.assert_allclose(
        images[:, 0, 0], [(0.2 - 0.5) / 0.5, (0.4 - 0.4) / 0.2, 1 / 2], atol=1e-6
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 5), (4, 4), (3, 11)]))
def test_transform_equals_its_formula(seed, size):
    """To the bit: a content's encoding must not depend on how its lines were laid out."""
    cover = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    square = Image.fromarray(cover).resize((4, 4), Image.Resampling.BICUBIC)
    expected = (np.asarray(square, np.float32) / np.float32(255) - mean) / std
    transform = ImageTransform(4, tuple(mean.tolist()), tuple(std.tolist()), "bicubic")
    assert np.array_equal(transform(cover), expected.transpose(2, 0, 1))


def test_transform_keeps_the_whole_cover():
    """A red band at the top and a blue one at the bottom of a tall cover are both seen."""
    cover = np.zeros((90, 60, 3), np.uint8)
    cover[:9, :, 0] = cover[-9:, :, 2] = 255
    images = ImageTransform(10, (0.0,) * 3, (1.0,) * 3, "bilinear")(cover)
    assert images[0, 0].min() > 0.5
    assert images[2, -1].min() > 0.5

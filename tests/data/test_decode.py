"""Files of every kind become upright 8-bit RGB; bad ones become a reason."""

import io
import os
import socket
import struct
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from kintune.data import limits
from kintune.data import values as values_module
from kintune.data.decode import ImageScale, decode_file, in_threads, pixel_digest

RAMP = np.linspace(0, 255, 24).astype(np.uint8).reshape(1, 24).repeat(16, axis=0)
RGB = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


@pytest.fixture
def decode(tmp_path):
    """Saves an image and decodes the file at its full size."""

    def save_and_decode(image, name="image.png", **options):
        image.save(tmp_path / name, **options)
        decoded = decode_file(str(tmp_path / name), None)
        assert decoded.pixels is not None, decoded.reason
        assert decoded.pixels.dtype == np.uint8
        return decoded.pixels

    return save_and_decode


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "image.png"),
        ("L", "image.png"),
        ("P", "image.gif"),
        ("RGB", "image.png"),
        ("RGB", "image.bmp"),
        ("RGB", "image.webp"),
        ("CMYK", "image.tif"),
        ("YCbCr", "image.tif"),
        ("CMYK", "image.jpg"),
    ],
)
def test_opaque_modes_equal_pil_conversion(decode, tmp_path, mode, name):
    pixels = decode(Image.fromarray(RGB).convert(mode), name)
    with Image.open(tmp_path / name) as stored:
        assert np.array_equal(pixels, np.asarray(stored.convert("RGB")))
    original = np.asarray(
        Image.fromarray(RGB).convert("L" if mode in "1L" else "RGB").convert("RGB")
    )
    assert abs(pixels.mean() - original.mean()) < 8


def rgba():
    alpha = np.zeros_like(RAMP)
    alpha[:, 8:16], alpha[:, 16:] = 128, 255
    return Image.fromarray(np.dstack([RGB, alpha]))


def test_transparency_is_laid_on_white(decode):
    pixels = decode(rgba()).astype(float)
    assert (pixels[:, :8] == 255).all()
    mixed = RGB[:, 8:16] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(pixels[:, 8:16] - mixed).max() <= 1
    assert np.array_equal(pixels[:, 16:], RGB[:, 16:])


def test_gray_with_alpha_is_laid_on_white(decode):
    pixels = decode(rgba().convert("LA"))
    assert (pixels[:, :8] == 255).all()
    assert np.array_equal(pixels[:, 16:, 0], np.asarray(Image.fromarray(RGB).convert("L"))[:, 16:])


def test_palette_with_transparent_entries_is_laid_on_white(decode):
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    pixels = decode(image, transparency=b"\x00\xff")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [0, 0, 255]


def test_palette_with_alpha_mode_is_laid_on_white(decode):
    image = Image.new("PA", (2, 2), (1, 0))
    assert (decode(image.convert("RGBA")) == 255).all()


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16B", ">u2")])
def test_sixteen_bits_become_eight(decode, mode, dtype):
    levels = (RAMP.astype(np.uint16) * 257).astype(dtype)
    image = Image.frombytes(mode, (24, 16), levels.tobytes())
    assert np.array_equal(decode(image, "image.tif")[..., 0], RAMP)


def test_sixteen_bit_png_becomes_eight(decode):
    assert np.array_equal(decode(Image.fromarray(RAMP.astype(np.uint16) * 257))[..., 1], RAMP)


def test_thirty_two_bit_integers_hold_sixteen_bit_values(decode):
    image = Image.fromarray(RAMP.astype(np.int32) * 257)
    assert image.mode == "I"
    assert np.array_equal(decode(image, "image.tif")[..., 0], RAMP)


@pytest.mark.parametrize("top", [1, 255])
def test_floating_point_is_read_as_fractions_or_levels(decode, top):
    image = Image.fromarray((RAMP / np.float32(255 / top)).astype(np.float32))
    assert image.mode == "F"
    assert np.array_equal(decode(image, "image.tif")[..., 2], RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.tif"])
def test_exif_rotation_is_applied_once(decode, tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(Image.fromarray(RGB), name, exif=exif)
    with Image.open(tmp_path / name) as stored:
        upright = ImageOps.exif_transpose(stored)
    assert pixels.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    assert np.array_equal(pixels, np.asarray(upright.convert("RGB")))


def test_corrupt_exif_does_not_cost_the_image(decode):
    assert np.array_equal(decode(Image.fromarray(RGB), exif=b"Exif\0\0MM\0*\xff\xff"), RGB)


def test_shorter_side_is_scaled_and_aspect_kept(tmp_path, pixels_of):
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)
    pixels = pixels_of(str(path), ImageScale(10, "bilinear"))
    expected = Image.fromarray(RGB).resize((15, 10), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize("upright", [False, True])
def test_longer_side_is_cropped_centrally_beyond_three_to_one(tmp_path, upright, pixels_of):
    long = np.zeros((10, 100, 3), np.uint8)
    long[:, 35:65] = 200
    path = tmp_path / "image.png"
    Image.fromarray(long.swapaxes(0, 1) if upright else long).save(path)
    pixels = pixels_of(str(path), ImageScale(10, "bilinear"))
    assert pixels.shape == ((30, 10, 3) if upright else (10, 30, 3))
    assert (pixels == 200).all()


def test_jpeg_is_close_to_the_exact_resize_though_it_is_decoded_small(tmp_path, pixels_of):
    rows, columns = np.mgrid[0:600, 0:800]
    smooth = np.stack([rows / 600, columns / 800, (rows + columns) / 1400], axis=2) * 255
    image = Image.fromarray(smooth.astype(np.uint8))
    image.save(tmp_path / "image.jpg", quality=95)
    pixels = pixels_of(str(tmp_path / "image.jpg"), ImageScale(60, "bilinear"))
    exact = np.asarray(image.resize((80, 60), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(pixels - exact).max() <= 4


def first_half(file_format):
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, file_format)
    return stream.getvalue()[: stream.tell() // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text", "not an image of a known format"),
        (b"P6 20000 20000 255 ", "20000 x 20000 pixels: needs 3.2 GB of memory"),
        (first_half("JPEG"), "truncated"),
        (first_half("PNG"), "truncated"),
    ],
)
def test_a_bad_file_is_a_reason_and_no_error(tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    decoded = decode_file(str(path), None)
    assert decoded.pixels is None
    assert reason in decoded.reason
    assert "0x" not in decoded.reason


def test_a_missing_file_is_a_reason(tmp_path):
    assert decode_file(str(tmp_path / "none.jpg"), None).reason == "No such file or directory"


def test_warnings_of_the_image_library_stay_inside(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RAMP.size - 1)
    path = str(tmp_path / "large.png")
    Image.fromarray(RGB).save(path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decoded = list(in_threads(lambda path: decode_file(path, None), [path], "decoding"))
    assert decoded[0].pixels is not None
    assert seen == []


def test_a_format_that_starts_a_program_is_not_opened(tmp_path, monkeypatch):
    Image.new("RGB", (20, 20)).save(tmp_path / "image.eps")
    path = (tmp_path / "image.eps").rename(tmp_path / "image.jpg")
    monkeypatch.setattr("subprocess.check_call", None)
    assert decode_file(str(path), None).reason == "not an image of a known format"
    assert pixel_digest(str(path)).reason == "not an image of a known format"


@pytest.mark.parametrize("kind", ["a FIFO", "a device", "a socket", "a folder"])
def test_what_is_no_regular_file_is_named_and_not_read(tmp_path, kind):
    path = tmp_path / "image.jpg"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # the length of an address is limited
    decoded = decode_file(str(path), None)
    assert decoded.reason == pixel_digest(str(path)).reason == f"not a regular file but {kind}"


def test_a_file_larger_than_the_memory_is_not_read(tmp_path):
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "needs 1099.5 GB of memory" in decode_file(str(path), None).reason


def jpeg_header(width, height):
    """A large JPEG's start, at the expense of a small one."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    content = stream.getvalue()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


BMP = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
BMP += struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
GIF = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
GIF += b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x01\x00\x00;"


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (b"P5 20000 20000 65535 ", False),
        (BMP, False),
        (GIF, False),
        (jpeg_header(16320, 12240), True),  # 200 million pixels, as phones make them
    ],
    ids=["PGM", "BMP", "GIF", "JPEG"],
)
def test_memory_decides_what_is_decoded(tmp_path, content, accepted):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    scaled = decode_file(str(path), ImageScale(64, "bilinear"))
    for reason in (scaled.reason, pixel_digest(str(path)).reason):
        assert ("--decode-memory" in reason) is not accepted


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        (np.linspace(0, 4095, 384).astype(np.uint16), "a.png", "values 0 to 4095 of 0 to 65535"),
        (np.linspace(30000, 30500, 384).astype(np.uint16), "a.png", "values 30000 to 30500"),
        (np.linspace(0, 4095, 384).astype(np.int32), "a.tif", "values 0 to 4095 of 0 to 65535"),
        (np.linspace(0, 1e6, 384).astype(np.int32), "a.tif", "clipped"),
        (np.linspace(0, 0.05, 384).astype(np.float32), "a.tif", "values 0 to 0.05 of 0 to 1"),
        (np.linspace(-1, 1, 384).astype(np.float32), "a.tif", "clipped"),
        (np.r_[np.nan, np.linspace(0, 1, 383)].astype(np.float32), "a.tif", "NaN is read as 0"),
        (np.linspace(0, 65535, 384).astype(np.uint16), "a.png", ""),
        (np.linspace(0, 1, 384).astype(np.float32), "a.tif", ""),
        (np.linspace(0, 30, 384).astype(np.uint8), "a.png", ""),
        (np.full(384, 300, np.uint16), "a.png", ""),
    ],
)
def test_values_that_do_not_fit_the_range_are_described(tmp_path, values, name, words):
    Image.fromarray(values.reshape(16, 24)).save(tmp_path / name)
    path = str(tmp_path / name)
    described = decode_file(path, None).value_range
    assert described == pixel_digest(path).value_range
    assert (words in described) if words else described == ""


def test_different_deep_images_are_no_duplicates(tmp_path):
    for index in range(2):
        Image.fromarray(np.full((16, 24), 300 + index, np.uint16)).save(tmp_path / f"{index}.png")
    first, second = (pixel_digest(str(tmp_path / f"{index}.png")).digest for index in range(2))
    assert first != second


def test_large_images_are_converted_in_parts_to_the_same_pixels(tmp_path, monkeypatch, pixels_of):
    Image.fromarray(RAMP.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    rgba().save(tmp_path / "rgba.png")
    paths = [str(tmp_path / name) for name in ("deep.png", "rgba.png")]
    whole = [pixels_of(path, None) for path in paths]
    monkeypatch.setattr(values_module, "_TILE_PIXELS", 50)
    for path, expected in zip(paths, whole, strict=True):
        assert np.array_equal(pixels_of(path, None), expected)


def test_threads_share_the_memory():
    limits.limit_decoding(gigabytes=100 / limits.GIGABYTE)
    try:
        held, most = [0], [0]

        def work(_):
            with limits.held_bytes(60):
                held[0] += 60
                most[0] = max(most[0], held[0])
                time.sleep(0.01)
                held[0] -= 60

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
        assert most == [60]
    finally:
        limits.limit_decoding(gigabytes=1)

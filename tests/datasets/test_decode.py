"""Files of every kind become upright 8-bit RGB; bad ones become a reason."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from kintune.datasets.decode import ImageScale, decode_file, in_threads

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


def test_grey_with_alpha_is_laid_on_white(decode):
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

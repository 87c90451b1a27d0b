import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from orapo.data.images import LongestSide, load_image
from orapo.errors import DataError, SettingError
from orapo.settings import settings

ACCEPTED = re.escape(
    "Accepted: PNG (8 or 16 bit) and JPEG, as .png, .jpg or .jpeg; DICOM, as .dcm, .dicom or without an ending"
)


def load(path, longest_side=512):
    return load_image(path, study_id="s1", longest_side=longest_side)


def noise(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def png_header(width, height):
    """A PNG that claims a size in its header and holds almost nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_grey_becomes_rgb_unchanged(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    image = load(tmp_path / "a.png")
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert np.array_equal(np.asarray(image), np.repeat(noise()[..., None], 3, axis=2))


def test_the_image_outlives_its_file(tmp_path):
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "a.png")
    image = load(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert image.getpixel((4, 4)) == (1, 2, 3)


def test_sixteen_bit_grey_is_scaled_linearly_from_darkest_to_brightest(tmp_path):
    # 12 bits in a 16-bit file: (value - 100) * 255 / (4095 - 100)
    grey = np.array([[100, 4095], [2097, 1099]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "I;16"
    assert np.asarray(load(tmp_path / "a.png"))[..., 0].tolist() == [[0, 255], [127, 64]]


def test_sixteen_bit_grey_of_one_value_is_black(tmp_path):
    Image.fromarray(np.full((20, 20), 3000, dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(load(tmp_path / "a.png")).max() == 0


def test_palette_and_transparency(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "palette.png")
    assert load(tmp_path / "palette.png").getpixel((0, 0)) == (200, 100, 50)
    palette.save(tmp_path / "clear.png", transparency=1)
    assert load(tmp_path / "clear.png").getpixel((0, 0)) == (0, 0, 0)
    Image.new("RGBA", (8, 8), (255, 255, 255, 51)).save(tmp_path / "rgba.png")
    assert load(tmp_path / "rgba.png").getpixel((0, 0)) == (51, 51, 51)
    Image.new("LA", (8, 8), (200, 255)).save(tmp_path / "la.png")
    assert load(tmp_path / "la.png").getpixel((0, 0)) == (200, 200, 200)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("L", (60, 30), 0)
    image.paste(255, (0, 0, 30, 30))  # left half bright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = load(tmp_path / "a.jpg")
    assert upright.size == (30, 60)
    assert upright.getpixel((15, 5))[0] > 240  # left has become top
    assert upright.getpixel((15, 55))[0] < 15


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_large_images_shrink_and_small_ones_stay(tmp_path, suffix):
    Image.fromarray(noise(900, 1800)).save(tmp_path / f"large{suffix}")
    assert load(tmp_path / f"large{suffix}", longest_side=100).size == (100, 50)
    Image.fromarray(noise(30, 20)).save(tmp_path / f"small{suffix}")
    assert load(tmp_path / f"small{suffix}", longest_side=100).size == (20, 30)


def test_shrinking_keeps_brightness(tmp_path):
    Image.fromarray(noise(1600, 1600)).save(tmp_path / "a.jpg", quality=95)
    assert np.asarray(load(tmp_path / "a.jpg", longest_side=64)).mean() == pytest.approx(
        noise(1600, 1600).mean(), abs=2
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_truncated_files_are_refused_by_name(tmp_path, suffix, kept):
    stream = io.BytesIO()
    Image.fromarray(noise(200, 200)).save(stream, "PNG" if suffix == ".png" else "JPEG")
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(stream.getvalue()[: int(kept * len(stream.getvalue()))])
    with pytest.raises(DataError, match=rf"study s1: image .*cut{suffix} is truncated or damaged \(.*\)\. {ACCEPTED}"):
        load(path)


def test_a_damaged_png_is_refused(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(noise(200, 200)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[len(content) // 2] ^= 0x10
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"study s1: image .*a\.png is truncated or damaged"):
        load(tmp_path / "a.png")


def test_truncation_is_found_even_where_another_library_told_pillow_to_ignore_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    Image.fromarray(noise()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="LOAD_TRUNCATED_IMAGES is set"):
        load(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", r"is empty \(0 bytes\)"),
        ("a.png", b"<html>not found</html>", "is neither PNG nor JPEG"),
        ("a.tif", b"II*\0", "ends in '.tif'"),
        ("a.png", png_header(9000, 9000), "claims 9000 x 9000 pixels, more than the 80,000,000 allowed"),
        ("a.png", png_header(60000, 60000), "claims more than the 80,000,000 pixels allowed .*decompression bomb"),
        ("a.png", png_header(1000, 10), "is a strip of 1000 x 10 pixels; sides may differ by a factor of 20"),
    ],
)
def test_what_cannot_be_an_image_is_refused_with_study_file_and_accepted_kinds(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^study s1: image .*{re.escape(name)} {message}.*{ACCEPTED}$"):
        load(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"^study s1: there is no image .*gone\.png$"):
        load(tmp_path / "gone.png")


def test_a_gif_named_png_is_refused(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png", "GIF")
    with pytest.raises(DataError, match="is neither PNG nor JPEG"):
        load(tmp_path / "a.png")


@settings
class Shrunk:
    longest_side: LongestSide


@pytest.mark.parametrize("value", [0, 31, 8193, 512.0, True, None])
def test_longest_side_out_of_range(value):
    with pytest.raises(
        SettingError, match=rf"^longest_side is {value}; it must be a whole number, at least 32 and at most 8192$"
    ):
        Shrunk(value)

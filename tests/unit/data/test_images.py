import io
import os
import re
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from orapo.data.image_check import check_image, image_problems
from orapo.data.images import LongestSide, check_image_name, load_image
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


@pytest.mark.parametrize("num_marked", [1, 40])
def test_a_bright_marker_leaves_the_tissue_its_greys(tmp_path, num_marked):
    grey = np.arange(10_000, dtype=np.uint16) % 3000 + 500
    grey[:num_marked] = 65535
    Image.fromarray(grey.reshape(100, 100)).save(tmp_path / "a.png")
    shown = np.asarray(load(tmp_path / "a.png"))[..., 0].ravel()
    assert set(shown[:num_marked].tolist()) == {255}
    assert np.ptp(shown[num_marked:]) == 255
    assert np.abs(shown[3000:6000] - (grey[3000:6000] - 500.0) * (255 / 2999)).max() < 2


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


def test_a_name_that_may_be_words_of_a_report_is_not_told():
    with pytest.raises(DataError) as caught:
        check_image_name("No effusion. Heart normal", study_id="s1")
    assert str(caught.value).startswith(
        "study s1: image (25 characters of text) ends in 14 characters of text. Accepted"
    )


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


def sixteen_bit_png(path, values, colour):
    """Writes [height, width, channels] of 16 bits, each row by another of PNG's filters."""
    rows, previous = b"", None
    step = values.shape[2] * 2
    for index, row in enumerate(np.asarray(values, dtype=">u2")):
        raw = np.frombuffer(row.tobytes(), dtype=np.uint8).astype(int)
        left = np.concatenate([np.zeros(step, dtype=int), raw[:-step]])
        above = np.zeros_like(raw) if previous is None else previous
        corner = np.concatenate([np.zeros(step, dtype=int), above[:-step]])
        estimate = left + above - corner
        distances = np.stack([abs(estimate - near) for near in (left, above, corner)])
        paeth = np.choose(distances.argmin(0), [left, above, corner])
        kind = index % 5
        predicted = [np.zeros_like(raw), left, above, (left + above) // 2, paeth][kind]
        rows += bytes([kind]) + ((raw - predicted) % 256).astype(np.uint8).tobytes()
        previous = raw

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_any_sixteen_bit_png_shows_the_same_as_grey(tmp_path, colour, bits):
    grey = np.random.default_rng(bits).integers(0, 2**bits, (12, 9, 1))
    grey[0, 0], grey[0, 1] = 0, 2**bits - 1
    opaque = np.full_like(grey, 2**bits - 1)
    channels = {0: [grey], 2: [grey] * 3, 4: [grey, opaque], 6: [grey, grey, grey, opaque]}[colour]
    path = sixteen_bit_png(tmp_path / "a.png", np.concatenate(channels, axis=2), colour)
    shown = np.rint(grey * (255 / (2**bits - 1))).astype(np.uint8)
    assert np.array_equal(np.asarray(load(path)), shown.repeat(3, axis=2))


def test_one_map_for_all_channels_of_sixteen_bits(tmp_path):
    colours = np.array([[[0, 1000, 4000], [4000, 2000, 1000]]])
    path = sixteen_bit_png(tmp_path / "a.png", colours, 2)
    assert np.asarray(load(path)).tolist() == [[[0, 64, 255], [255, 128, 64]]]


def test_what_is_transparent_stretches_nothing(tmp_path):
    grey_and_alpha = np.array([[[65535, 0], [100, 4095], [300, 4095], [201, 4095]]])
    path = sixteen_bit_png(tmp_path / "a.png", grey_and_alpha, 4)
    assert np.asarray(load(path))[..., 0].tolist() == [[0, 0, 255, 129]]
    padded = Image.fromarray(np.array([[65535, 100, 300, 201]], dtype=np.uint16))
    padded.save(tmp_path / "b.png", transparency=65535)
    assert np.asarray(load(tmp_path / "b.png"))[..., 0].tolist() == [[0, 0, 255, 129]]


def test_sixteen_bits_are_turned_upright_and_shrunk(tmp_path):
    grey = np.zeros((40, 80), dtype=np.uint16)
    grey[:, :40] = 4095  # left half bright
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif)
    upright = load(tmp_path / "a.png", 40)
    assert upright.size == (20, 40)
    assert (upright.getpixel((10, 3)), upright.getpixel((10, 37))) == ((255,) * 3, (0,) * 3)


def test_cmyk_and_bilevel(tmp_path):
    Image.new("CMYK", (16, 16), (0, 0, 0, 100)).save(tmp_path / "a.jpg", quality=100)
    assert load(tmp_path / "a.jpg").getpixel((4, 4)) == pytest.approx((155, 155, 155), abs=2)
    Image.new("1", (16, 16), 1).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png").getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("limit", [100 * 200, 5000, 1])
def test_at_most_so_many_pixels(tmp_path, limit):
    Image.fromarray(noise(600, 1200)).save(tmp_path / "a.png")
    width, height = load_image(tmp_path / "a.png", study_id="s1", max_pixels=limit).size
    assert width * height <= limit
    assert width * height > 0.9 * limit
    assert load_image(tmp_path / "a.png", study_id="s1").size == (1200, 600)
    assert load_image(tmp_path / "a.png", study_id="s1", max_pixels=10**9).size == (1200, 600)
    assert load_image(tmp_path / "a.png", study_id="s1", max_pixels=10**9, longest_side=60).size == (60, 30)


def test_a_picture_of_one_colour_is_said_once(tmp_path, caplog):
    path = tmp_path / "black.png"
    Image.new("L", (9, 9), 0).save(path)
    load(path)
    load(path)
    assert [record.message for record in caplog.records] == [f"study s1: image {path.name}: it shows a single colour"]


def check(path):
    check_image(path, study_id="s1")


@pytest.mark.parametrize("open_it", [load, check])
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "loop", "to nothing", "long name", "animated"])
def test_what_is_no_file_of_one_picture_is_refused_at_once(tmp_path, monkeypatch, kind, open_it):
    path, message = tmp_path / "a.png", "can't be opened"
    if kind == "folder":
        path.mkdir()
        message = "is a folder, not a file"
    elif kind == "pipe":
        os.mkfifo(path)
        message = "is a pipe, not a file"
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("a.png")
        message = "is a socket, not a file"
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "to nothing":
        path.symlink_to(tmp_path / "gone.png")
        message = "there is no image"
    elif kind == "long name":
        path = tmp_path / f"{'a' * 300}.png"
    else:
        frames = [Image.new("L", (20, 20), shade) for shade in (0, 200)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        message = "holds 2 frames"
    with pytest.raises(DataError, match=rf"^study s1: .*{message}"):
        open_it(path)


def test_a_jpeg_of_twelve_bits_is_not_called_something_else(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    content[content.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"is a JPEG that can't be read: damaged, lossless or of 12 bits"):
        load(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_the_check_finds_what_is_truncated(tmp_path, suffix, kept):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(noise(200, 200)).save(path)
    check(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"cut\.(png|jpg) is (truncated or damaged|empty)"):
        check(path)
    path.write_bytes(whole + b"\0" * 9000)  # after the end: it can be read
    check(path)
    load(path)


def test_many_images_are_checked_in_order(tmp_path):
    images = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        Image.fromarray(noise()).save(path)
        if number in (3, 11):
            path.write_bytes(path.read_bytes()[:-60])
        images.append((f"s{number}", path))
    images.append(("gone", tmp_path / "gone.png"))
    problems = image_problems(images)
    assert [study_id for study_id, _ in problems] == ["s3", "s11", "gone"]
    assert all(f"study {study_id}: " in problem for study_id, problem in problems)


@settings
class Shrunk:
    longest_side: LongestSide


@pytest.mark.parametrize("value", [0, 31, 8193, 512.0, True, None])
def test_longest_side_out_of_range(value):
    with pytest.raises(
        SettingError, match=rf"^longest_side is {value}; it must be a whole number, at least 32 and at most 8192$"
    ):
        Shrunk(value)

"""Real DICOM files, written here; the grey values expected are worked out by hand from DICOM PS3.3 C.11."""

import builtins
import io
import re
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import MPEG4HP41, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

from orapo.data.image_check import check_image
from orapo.data.images import check_image_name, load_image
from orapo.errors import DataError

WINDOW = {"WindowCenter": 8, "WindowWidth": 11}


def load(path, longest_side=512):
    return load_image(path, study_id="s1", longest_side=longest_side)


def grey(path):
    """Rows of grey values; all three channels must agree."""
    image = load(path)
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def dicom(pixels, *, bits=16, **elements):
    """A DICOM file of stored pixels as a dataset."""
    pixels = np.asarray(pixels)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["orapo"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName = "Made^Up"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.add_new("PixelData", "OB" if pixels.itemsize == 1 else "OW", pixels.tobytes())
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def save(path, dataset):
    dataset.save_as(path, enforce_file_format=True)
    return path


def lut(entries, first, bits):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return Sequence([item])


STORED = np.array([[0, 2, 3], [7, 12, 13]], dtype=np.uint16)


def test_window_edges(tmp_path):
    # Centre 8, width 11: (x - 7.5) / 10 + 0.5 is 0 at 2.5 and 1 at 12.5; 3 -> 12.75, 7 -> 114.75, 12 -> 242.25.
    assert grey(save(tmp_path / "a.dcm", dicom(STORED, bits=12, **WINDOW))) == [[0, 0, 13], [115, 242, 255]]


def test_monochrome1_is_inverted(tmp_path):
    dataset = dicom(STORED, bits=12, PhotometricInterpretation="MONOCHROME1", **WINDOW)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[255, 255, 242], [140, 13, 0]]


def test_without_a_window_darkest_to_brightest(tmp_path):
    # (x - 100) * 255 / 3995
    dataset = dicom(np.array([[100, 4095], [2097, 1099]], dtype=np.uint16), bits=12)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 255], [127, 64]]
    inverted = dicom(np.array([[100, 4095], [2097, 1099]], dtype=np.uint16), PhotometricInterpretation="MONOCHROME1")
    assert grey(save(tmp_path / "b.dcm", inverted)) == [[255, 0], [128, 191]]
    assert grey(save(tmp_path / "c.dcm", dicom(np.full((2, 2), 700, dtype=np.uint16)))) == [[0, 0], [0, 0]]


@pytest.mark.parametrize("empty", [{"WindowCenter": None, "WindowWidth": None}, {"WindowCenter": 5}])
def test_half_a_window_is_none(tmp_path, empty):
    dataset = dicom(np.array([[0, 51], [255, 102]], dtype=np.uint8), bits=8, **empty)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 51], [255, 102]]


def test_the_first_of_several_windows_counts(tmp_path):
    dataset = dicom(STORED, WindowCenter=[8, 1000], WindowWidth=[11, 2000])
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 0, 13], [115, 242, 255]]


def test_rescale_comes_before_the_window(tmp_path):
    # Stored 5, 6, 7 become 2 * x - 10 = 0, 2, 4; centre 2, width 5: (x - 1.5) / 4 + 0.5 = 0.125, 0.625, 1.125.
    dataset = dicom(
        np.array([[5, 6, 7]], dtype=np.uint16), RescaleSlope=2, RescaleIntercept=-10, WindowCenter=2, WindowWidth=5
    )
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[32, 159, 255]]


def test_a_negative_slope_turns_dark_and_bright(tmp_path):
    dataset = dicom(np.array([[0, 51, 255]], dtype=np.uint16), RescaleSlope=-1, RescaleIntercept=255)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[255, 204, 0]]


def test_signed_pixels(tmp_path):
    dataset = dicom(np.array([[-32768, -1, 0, 32767]], dtype=np.int16), WindowCenter=0, WindowWidth=256)
    # (x + 0.5) / 255 + 0.5
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 127, 128, 255]]


def test_width_one_is_a_threshold_at_centre_minus_half(tmp_path):
    dataset = dicom(np.array([[4, 5]], dtype=np.uint16), WindowCenter=5, WindowWidth=1)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 255]]


def test_other_window_functions(tmp_path):
    values = np.array([[0, 10, 20]], dtype=np.uint16)
    exact = dicom(values, WindowCenter=10, WindowWidth=40, VOILUTFunction="LINEAR_EXACT")
    assert grey(save(tmp_path / "a.dcm", exact)) == [[64, 128, 191]]  # 63.75, 127.5 (to even), 191.25
    sigmoid = dicom(values, WindowCenter=10, WindowWidth=40, VOILUTFunction="SIGMOID")
    # 255 / (1 + e^(1, 0, -1)): 68.58, 127.5 (to even), 186.42
    assert grey(save(tmp_path / "b.dcm", sigmoid)) == [[69, 128, 186]]


def test_a_voi_table_wins_over_a_window(tmp_path):
    # 12-bit entries for 300, 301, 302; below and above take the ends. 2048 * 255 / 4095 = 127.53.
    dataset = dicom(
        np.array([[0, 300, 301, 302, 900]], dtype=np.uint16), VOILUTSequence=lut([0, 2048, 4095], 300, 12), **WINDOW
    )
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 0, 128, 255, 255]]


def test_a_modality_table_comes_before_the_window(tmp_path):
    dataset = dicom(np.array([[1, 2]], dtype=np.uint16), ModalityLUTSequence=lut([3, 7], 1, 16), **WINDOW)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[13, 115]]


def test_thirty_two_bit_pixels(tmp_path):
    dataset = dicom(np.array([[0, 2**31, 2**32 - 1]], dtype=np.uint32), bits=32)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 128, 255]]


def test_colour_stays(tmp_path):
    pixels = np.array([[[200, 100, 50], [1, 2, 3]]], dtype=np.uint8)
    dataset = dicom(pixels, bits=8, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB", **WINDOW)
    assert np.array_equal(np.asarray(load(save(tmp_path / "a.dcm", dataset))), pixels)


@pytest.mark.parametrize("name", ["a.dcm", "A.DICOM", "IM0001", "1.2.840.10008.17", "really.png", "really.jpg"])
def test_any_name(tmp_path, name):
    check_image_name(name, study_id="s1")
    assert grey(save(tmp_path / name, dicom(STORED, **WINDOW))) == [[0, 0, 13], [115, 242, 255]]


def smooth(size=64):
    """12-bit gradient."""
    return (np.arange(size * size, dtype=np.uint16).reshape(size, size) % 4096).astype(np.uint16)


def jpeg2000(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    dataset = dicom(pixels)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"
    return dataset


def rle(pixels):
    dataset = dicom(pixels)
    dataset.compress(RLELossless)
    return dataset


@pytest.mark.parametrize("compress", [rle, jpeg2000])
def test_lossless_compression_gives_the_same_picture(tmp_path, compress):
    plain = grey(save(tmp_path / "plain.dcm", dicom(smooth(), **WINDOW)))
    compressed = compress(smooth())
    compressed.WindowCenter, compressed.WindowWidth = 8, 11
    assert grey(save(tmp_path / "a.dcm", compressed)) == plain


def test_jpeg_baseline(tmp_path):
    pixels = np.full((64, 64), 90, dtype=np.uint8)
    pixels[:, 32:] = 200
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100)
    dataset = dicom(pixels, bits=8, WindowCenter=128, WindowWidth=256)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    shown = np.array(grey(save(tmp_path / "a.dcm", dataset)))
    assert abs(shown - pixels.astype(int)).max() <= 1


def test_large_images_shrink(tmp_path):
    image = load(save(tmp_path / "a.dcm", dicom(np.zeros((300, 600), dtype=np.uint16))), longest_side=100)
    assert (image.mode, image.size) == ("RGB", (100, 50))


@pytest.mark.parametrize("make", [dicom, rle, jpeg2000])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95, 0.999])
def test_truncated_files_are_refused(tmp_path, make, kept):
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    path = save(tmp_path / "cut.dcm", make(noise))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"^study s1: image .*cut\.dcm is (truncated or damaged DICOM|DICOM without)"):
        load(path)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"NumberOfFrames": 3}, "is DICOM of 3 frames; images of one frame are accepted"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "has PhotometricInterpretation 'PALETTE COLOR'; accepted are"),
        ({"Rows": 0}, "is DICOM of 0 pixels"),
        ({"Rows": 9000, "Columns": 9000}, "claims 9000 x 9000 pixels, more than the 80,000,000 allowed"),
        ({"Rows": 1, "Columns": 30}, "is a strip of 30 x 1 pixels"),
        ({"Rows": 3, "Columns": 3}, r"is truncated or damaged DICOM \(.* is less than expected .*\)"),
        ({"SamplesPerPixel": 3}, "is MONOCHROME2 of 3 samples a pixel; grey has 1 and colour 3"),
        ({**WINDOW, "VOILUTFunction": "CUBIC"}, "has a CUBIC window of width 11, which DICOM doesn't know"),
        ({"VOILUTSequence": lut([1], 0, 40)}, "has a table of grey values with 1 of 1 entries, 40 bits"),
        ({"VOILUTSequence": Sequence([Dataset()])}, "has a table of grey values that can't be read"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, elements, message):
    path = save(tmp_path / "a.dcm", dicom(STORED, **elements))
    with pytest.raises(DataError, match=rf"^study s1: image .*a\.dcm {message}.*\. Accepted: PNG") as caught:
        load(path)
    assert "Made" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_pixels(tmp_path):
    dataset = dicom(STORED)
    del dataset.PixelData
    with pytest.raises(DataError, match=r"a\.dcm is DICOM without pixels; is it an image, and is the file complete\?"):
        load(save(tmp_path / "a.dcm", dataset))


def test_no_value_for_the_pixels(tmp_path):
    path = save(tmp_path / "a.dcm", dicom(STORED, PixelData=b""))
    for look in (load, lambda path: check_image(path, study_id="s1")):
        with pytest.raises(DataError, match=r"^study s1: image .* is DICOM without pixels"):
            look(path)


@pytest.mark.parametrize("elements", [{"PixelData": STORED.tobytes() * 2}, {"BitsAllocated": 8, "BitsStored": 8}])
def test_pixels_of_more_frames_than_the_header_claims(tmp_path, elements):
    path = save(tmp_path / "a.dcm", dicom(STORED, **elements))
    for look in (load, lambda path: check_image(path, study_id="s1")):
        with pytest.raises(DataError, match=r"^study s1: image .* more pixels than its header claims"):
            look(path)


def deflated(path, zeros=0):
    """STORED, deflated, with so many millions of zeros after it."""
    plain = save(path, dicom(STORED, bits=12, **WINDOW))
    dataset = pydicom.dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    content = save(path, dataset).read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")  # the length of the first group stands there
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(zlib.decompress(content[start:], -zlib.MAX_WBITS))
    body += b"".join(packer.compress(bytes(1_000_000)) for _ in range(zeros))
    path.write_bytes(content[:start] + body + packer.flush())
    return path


def test_a_deflated_file(tmp_path):
    shown = grey(save(tmp_path / "a.dcm", dicom(STORED, bits=12, **WINDOW)))
    assert grey(deflated(tmp_path / "b.dcm")) == shown
    assert grey(deflated(tmp_path / "c.dcm", zeros=2)) == shown


@pytest.mark.parametrize("name", ["a.dcm", "a.png"])
def test_a_file_that_is_or_becomes_too_large(tmp_path, name, monkeypatch):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(500_000_001)
    with pytest.raises(DataError, match=r"^study s1: image .* has 500,000,001 bytes; at most 500,000,000 are accepted"):
        load(path)
    monkeypatch.setattr("orapo.data.dicom.MOST_BYTES", 3_000_000)
    with pytest.raises(DataError, match=r"^study s1: image .* more than 3,000,000 bytes when unpacked"):
        load(deflated(path, zeros=4))


def test_sixteen_bit_colour_is_refused(tmp_path):
    pixels = np.zeros((2, 2, 3), dtype=np.uint16)
    dataset = dicom(pixels, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
    with pytest.raises(DataError, match="has colours of 16 bits; 8 are accepted"):
        load(save(tmp_path / "a.dcm", dataset))


def test_an_unsupported_transfer_syntax_is_named(tmp_path):
    dataset = dicom(STORED)
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    dataset.PixelData = encapsulate([b"\0" * 64])
    with pytest.raises(DataError, match=r"a\.dcm has pixels of transfer syntax MPEG-4 .*, which can't be read; decomp"):
        load(save(tmp_path / "a.dcm", dataset))


@pytest.mark.parametrize("name", ["a.dcm", "IM0001"])
@pytest.mark.parametrize("content", [b"<html>", b"\0" * 200])
def test_a_file_of_another_kind_is_no_dicom(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^study s1: image .*{re.escape(name)} is not DICOM \(no DICM at byte 128\)"):
        load(tmp_path / name)


def test_an_empty_file(tmp_path):
    (tmp_path / "a.dcm").touch()
    with pytest.raises(DataError, match=r"a\.dcm is empty \(0 bytes\)"):
        load(tmp_path / "a.dcm")


def test_without_pydicom_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", dicom(STORED))
    named_png = save(tmp_path / "b.png", dicom(STORED))
    real_import = builtins.__import__

    def no_pydicom(name, *arguments, **options):
        if name.split(".")[0] == "pydicom":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_pydicom)
    message = r"is DICOM, which needs pydicom: pip install 'orapo\[dicom\]'"
    with pytest.raises(DataError, match=rf"^study s1: image .*a\.dcm {message}"):
        check_image_name(path, study_id="s1")
    with pytest.raises(DataError, match=rf"^study s1: image .*a\.dcm {message}"):
        load(path)
    with pytest.raises(DataError, match=rf"^study s1: image .*b\.png {message}"):
        load(named_png)


@pytest.mark.parametrize(
    ("pixels", "elements", "shown"),
    [
        # Tissue 100 to 300, so (x - 100) * 255 / 200; the padding is black and stretches nothing.
        ([[65535, 100, 201, 300]], {"PixelPaddingValue": 65535}, [[0, 0, 129, 255]]),
        ([[0, 100, 201, 300]], {"PixelPaddingValue": 0}, [[0, 0, 129, 255]]),
        ([[0, 9, 100, 300]], {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 9}, [[0, 0, 0, 255]]),
        ([[0, 9, 100, 300]], {"PixelPaddingValue": 9, "PixelPaddingRangeLimit": 0}, [[0, 0, 0, 255]]),
        ([[65535, 100, 201, 300]], {"PixelPaddingValue": 65535, "WindowCenter": 200, "WindowWidth": 201}, None),
        # MONOCHROME1: the tissue is inverted, the padding stays black.
        (
            [[65535, 100, 201, 300]],
            {"PixelPaddingValue": 65535, "PhotometricInterpretation": "MONOCHROME1"},
            [[0, 255, 126, 0]],
        ),
        # Above BitsStored: 4095 is tissue, though its 12 bits are those of 65535.
        ([[65535, 0, 2048, 4095]], {"PixelPaddingValue": 65535, "BitsStored": 12, "HighBit": 11}, [[0, 0, 128, 255]]),
        ([[5, 5, 5, 5]], {"PixelPaddingValue": 5}, [[0, 0, 0, 0]]),
    ],
)
def test_padding_is_black_and_no_tissue(tmp_path, pixels, elements, shown):
    dataset = dicom(np.array(pixels, dtype=np.uint16), **elements)
    # By the window: (x - 199.5) / 200 + 0.5
    assert grey(save(tmp_path / "a.dcm", dataset)) == (shown or [[0, 1, 129, 255]])


@pytest.mark.parametrize("padding", [-2000, 63536])
def test_padding_of_signed_pixels_with_and_without_its_sign(tmp_path, padding):
    dataset = dicom(np.array([[-2000, 100, 201, 300]], dtype=np.int16))
    dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
    path = save(tmp_path / "a.dcm", dataset)
    assert grey(path) == [[0, 0, 129, 255]]


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"WindowCenter": 30000, "WindowWidth": 1000}, "LINEAR window of center 30000 and width 1000"),
        ({"WindowCenter": [30000, 9], "WindowWidth": [1000, 0]}, "and its LINEAR window of center 9 and width 0"),
        ({"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "SIGMOID window of center 5 and width 0"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "LINEAR window of center 5 and width 0.5"),
        ({"WindowCenter": 5, "WindowWidth": -3, "VOILUTFunction": "LINEAR_EXACT"}, "LINEAR_EXACT window"),
        ({"VOILUTSequence": lut([7, 7, 7], 60000, 16)}, "table of grey values"),
        ({"RescaleSlope": 0, "RescaleIntercept": 3}, "modality table or rescale slope"),
    ],
)
def test_what_shows_nothing_is_said_and_darkest_to_brightest_is_shown(tmp_path, caplog, elements, named):
    path = save(tmp_path / "a.dcm", dicom(np.array([[100, 4095], [2097, 1099]], dtype=np.uint16), **elements))
    assert grey(path) == [[0, 255], [127, 64]]
    load(path)
    (record,) = caplog.records  # once, however often it is drawn
    assert record.levelname == "WARNING"
    assert f"image {path.name}: by its" in record.message
    assert named in record.message
    assert "Made" not in record.message


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_without_a_width_turns_no_two_values_round(tmp_path, function):
    dataset = dicom(np.array([[100, 4095]], dtype=np.uint16), WindowCenter=2000, WindowWidth=0, VOILUTFunction=function)
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 255]]


def test_a_later_window_is_taken_where_the_first_is_off_the_data(tmp_path, caplog):
    dataset = dicom(STORED, WindowCenter=[30000, 8], WindowWidth=[10, 11])
    assert grey(save(tmp_path / "a.dcm", dataset)) == [[0, 0, 13], [115, 242, 255]]
    assert not caplog.records


@pytest.mark.parametrize(
    ("elements", "warned"),
    [
        ({}, False),
        ({"WindowCenter": [30000, 2000], "WindowWidth": [1000, 3001]}, False),
        ({"WindowCenter": 30000, "WindowWidth": 1000}, True),
    ],
)
def test_one_bright_pixel_neither_stretches_nor_makes_a_window(tmp_path, caplog, elements, warned):
    stored = np.arange(10_000, dtype=np.uint16) % 3000 + 500
    stored[0] = 65535
    shown = np.array(grey(save(tmp_path / "a.dcm", dicom(stored.reshape(100, 100), **elements)))).ravel()
    assert shown[0] == 255
    assert np.abs(shown[3000:6000] - (stored[3000:6000] - 500.0) * (255 / 2999)).max() < 2
    assert ["shows hardly any grey" in record.message for record in caplog.records] == [True] * warned


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("function", ["Linear", "linear", "Linear_Exact", "LINEAR EXACT", "Sigmoid"])
def test_the_function_of_a_window_in_any_spelling(tmp_path, function):
    written = grey(save(tmp_path / "a.dcm", dicom(STORED, **WINDOW, VOILUTFunction=function)))
    name = function.upper().replace(" ", "_")
    assert written == grey(save(tmp_path / "b.dcm", dicom(STORED, **WINDOW, VOILUTFunction=name)))


def test_twelve_bit_jpeg_is_not_called_damaged(tmp_path):
    pixels = np.full((16, 16), 90, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    dataset = dicom(pixels.astype(np.uint16), bits=12)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGExtended12Bit
    content = bytearray(stream.getvalue())
    frame = content.index(b"\xff\xc0")
    content[frame + 1], content[frame + 4] = 0xC1, 12
    dataset.PixelData = encapsulate([bytes(content)])
    path = save(tmp_path / "a.dcm", dataset)
    check_image(path, study_id="s1")
    with pytest.raises(DataError, match=r"has 12-bit pixels of transfer syntax JPEG Extended .*can't be read here"):
        load(path)


@pytest.mark.parametrize("make", [dicom, rle, jpeg2000])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95, 0.999])
def test_the_check_finds_truncation_by_the_header(tmp_path, make, kept):
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    path = save(tmp_path / "cut.dcm", make(noise))
    check_image(path, study_id="s1")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"^study s1: image .*cut\.dcm is (truncated or damaged DICOM|DICOM without)"):
        check_image(path, study_id="s1")


@pytest.mark.parametrize("length", [120, 300])
def test_a_damaged_header_is_not_quoted(tmp_path, caplog, recwarn, length):
    """The length of the transfer syntax reaches over the elements after it, the patient's name among them."""
    path = save(tmp_path / "a.dcm", dicom(STORED, ImageComments="A canary perches upon the sternum", **WINDOW))
    content = bytearray(path.read_bytes())
    place = content.index(b"\x02\x00\x10\x00UI") + 6
    content[place : place + 2] = length.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path)
    told = f"{caught.value} {caplog.text} {[str(warning.message) for warning in recwarn]}"
    assert not re.search("Made|canary", told)


def test_a_window_that_is_no_number_is_not_quoted(tmp_path):
    path = save(tmp_path / "a.dcm", dicom(STORED, WindowCenter=[1, 2], WindowWidth=3))
    path.write_bytes(path.read_bytes().replace(b"1.0\\2.0", b"p770001"))
    with pytest.raises(DataError, match="a WindowCenter that is no number"):
        load(path)

"""DICOM images as 8-bit pictures, grey as the file's own tables and window show it."""

import logging
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orapo.data.dicom_grey import show_grey
from orapo.errors import DataError

MAGIC_START, MAGIC = 128, b"DICM"
"""Where a DICOM file says what it is."""
MOST_BYTES = 500_000_000
"""Of an image file, and of what a deflated one holds; 80 million pixels of 16 bits and three colours have fewer."""

_TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
"""All that is read: names, dates and comments of the header never get into memory, nor into a message."""

_GREY = ("MONOCHROME1", "MONOCHROME2")
_MOST_REASON = 200
_TOO_MANY = "is DICOM with more pixels than its header claims"
_NO_PLUGIN = "does not support"
"""In pydicom's words where a plug-in knows the compression, but not with so many bits."""
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def require_pydicom() -> None:
    """Checks that DICOM can be read here.

    Raises:
        DataError: pydicom isn't installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise DataError("is DICOM, which needs pydicom: pip install 'orapo[dicom]'") from error
    # It says every warning twice, and both quote the header: of a damaged one names and numbers of the patient. Blocks
    # that catch warnings do not hold where several threads open images.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\b")


@dataclass(frozen=True, slots=True)
class DicomImage:
    """A DICOM file whose header has been checked and whose pixels are still as stored.

    Attributes:
        size: width and height in pixels, as the header claims.
        dataset: pydicom's dataset with the elements that matter here.
    """

    size: tuple[int, int]
    dataset: Any

    def picture(self) -> tuple[Image.Image, str]:
        """Decodes the pixels: grey as ``show_grey`` says, colour as it is.

        Returns:
            Mode RGB, 8 bits a channel; and what to know of it, "" for nothing.

        Raises:
            DataError: pixels that are truncated, damaged or in a compression that can't be read here, or a window that
                makes no sense.
        """
        pixels = _decode(self.dataset)
        if pixels.shape[1::-1] != self.size:
            raise DataError(_TOO_MANY)
        if self.dataset.PhotometricInterpretation in _COLOUR:
            if pixels.dtype != np.uint8:
                raise DataError(f"has colours of {8 * pixels.itemsize} bits; 8 are accepted")
            return Image.fromarray(pixels), ""
        grey, note = show_grey(self.dataset, pixels)
        return Image.fromarray(grey).convert("RGB"), note

    def check_length(self) -> None:
        """Raises a DataError where uncompressed pixels are not as many as the header claims; decodes nothing."""
        from pydicom.pixels.utils import get_expected_length

        if self.dataset.file_meta.TransferSyntaxUID.is_compressed:
            return  # the reader has looked for the end of the last fragment
        found, claimed = len(self.dataset.PixelData), get_expected_length(self.dataset)
        if found < claimed:
            raise DataError(f"is truncated or damaged DICOM ({found:,} bytes of pixels of {claimed:,})")
        if found >= 2 * claimed:  # fewer are padding
            raise DataError(_TOO_MANY)


def open_dicom(file: BinaryIO) -> DicomImage:
    """Reads the header and the stored pixels, decodes nothing.

    Raises:
        DataError: pydicom isn't installed, the file isn't DICOM or is damaged, it has no pixels or several frames, or
            its kind of pixels or of compression can't be read. The text continues "image x ...".
    """
    require_pydicom()
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the header
        try:
            dataset = read_partial(_Bounded(file), _is_padding, specific_tags=list(map(Tag, _TAGS)))
            _check_header(dataset)
            return DicomImage((int(dataset.Columns), int(dataset.Rows)), dataset)
        except InvalidDicomError as error:
            raise DataError(f"is not DICOM (no {MAGIC.decode()} at byte {MAGIC_START})") from error
        except DataError:
            raise
        except Exception as error:  # pydicom raises many kinds for damaged files, and its words can quote the header
            raise DataError(f"is truncated or damaged DICOM ({type(error).__name__})") from None


class _Bounded:
    """A file for pydicom, which unpacks a deflated one at once, whatever its size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As of the file; raises DataError where all is asked for, as before unpacking, and it would be too large."""
        content = self._file.read(size)
        if size < 0:
            unpacker, rest, length = zlib.decompressobj(-zlib.MAX_WBITS), content, 0
            while rest and length <= MOST_BYTES:
                length += len(unpacker.decompress(rest, 1 << 24))
                rest = unpacker.unconsumed_tail
            if length > MOST_BYTES:
                raise DataError(f"is DICOM of more than {MOST_BYTES:,} bytes when unpacked, which is too many")
        return content


def _is_padding(tag: int, *_: object) -> bool:
    """Whether no element follows: tag 0 is none, and would be met at every eighth byte of a file filled with zeros."""
    return tag == 0


def _check_header(dataset: Any) -> None:
    if not dataset.get("PixelData"):
        raise DataError("is DICOM without pixels; is it an image, and is the file complete?")
    if any(dataset.get(name) is None for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")):
        raise DataError("is DICOM without Rows, Columns, BitsAllocated or PhotometricInterpretation")
    if not int(dataset.Rows) or not int(dataset.Columns):
        raise DataError("is DICOM of 0 pixels")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DataError(f"is DICOM of {int(dataset.NumberOfFrames)} frames; images of one frame are accepted")
    if dataset.PhotometricInterpretation not in (*_GREY, *_COLOUR):
        raise DataError(
            f"has PhotometricInterpretation {str(dataset.PhotometricInterpretation)[:16]!r}; accepted are "
            f"{', '.join((*_GREY, *_COLOUR))}"
        )
    if int(dataset.get("SamplesPerPixel") or 1) != (3 if dataset.PhotometricInterpretation in _COLOUR else 1):
        raise DataError(
            f"is {dataset.PhotometricInterpretation} of {int(dataset.get('SamplesPerPixel') or 1)} samples a pixel; "
            "grey has 1 and colour 3"
        )
    _check_compression(dataset)


def _check_compression(dataset: Any) -> None:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DataError("is DICOM without a TransferSyntaxUID")
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise DataError(f"has pixels of transfer syntax {syntax.name}, which can't be read; decompress it") from error
    if not readable:
        raise DataError(
            f"has pixels of transfer syntax {syntax.name}, which can't be read here: pip install 'orapo[dicom]', "
            "or decompress it"
        )


def _decode(dataset: Any) -> NDArray[Any]:
    from pydicom.pixels import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # With all bits as they are: a padding value may stand above BitsStored.
            pixels: NDArray[Any] = pixel_array(dataset, correct_unused_bits=False)
        except Exception as error:  # every plug-in raises its own
            reason = " ".join(str(error).split())[:_MOST_REASON] or type(error).__name__
            if _NO_PLUGIN in reason:
                raise DataError(
                    f"has {int(dataset.get('BitsStored') or 0)}-bit pixels of transfer syntax "
                    f"{dataset.file_meta.TransferSyntaxUID.name}, which can't be read here: "
                    "pip install pylibjpeg pylibjpeg-libjpeg, or decompress it"
                ) from None
            raise DataError(f"is truncated or damaged DICOM ({reason})") from error
    return pixels

"""Maps the stored grey values of a DICOM image to 8 bits, by the file's own tables and window."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orapo.data.stretch import stretch_ends
from orapo.errors import DataError

Values = NDArray[Any]

_LEAST_BETWEEN = 0.02
"""Of the tissue's pixels, by a window or table that can be meant: one beside the data shows a marker and no tissue."""


def show_grey(dataset: Any, pixels: Values) -> tuple[NDArray[np.uint8], str]:
    """What a viewer shows of stored grey pixels: modality table, then VOI table or window, of DICOM PS3.3 C.11.

    The VOI table or window is the first of the file's that shows enough of the tissue between black and white. Where
    none does (a window off the data, a width of 0), darkest to brightest is shown without outliers (``stretch_ends``),
    and the note says so. Padding (PS3.3 C.7.5.1.1.2) is no tissue: it is black, and no part of a stretch. Worked out
    per grey value that occurs.

    Args:
        dataset: of pydicom, with the elements of both steps where the file has them.
        pixels: as stored, [height, width], signed or unsigned integers; bits above BitsStored count for padding only.

    Returns:
        [height, width], 0 the darkest and 255 the brightest shown, inverted for MONOCHROME1; and what a reader of the
        picture should know of it, "" when the file's own tables made it.

    Raises:
        DataError: a window or table that DICOM doesn't know.
    """
    if pixels.itemsize > 2:
        return _shown(dataset, pixels, np.ones(pixels.shape, dtype=np.int64))
    low = int(pixels.min())
    offsets = pixels.astype(np.int32) - low
    counts = np.bincount(offsets.ravel())
    levels = np.flatnonzero(counts)
    table = np.zeros(levels[-1] + 1, dtype=np.uint8)
    table[levels], note = _shown(dataset, (levels + low).astype(pixels.dtype), counts[levels])
    return table[offsets], note


def _shown(dataset: Any, raw: Values, counts: Values) -> tuple[NDArray[np.uint8], str]:
    is_tissue = ~_is_padding(dataset, raw)
    grey, note = np.zeros(raw.shape, dtype=np.uint8), ""
    if is_tissue.any():
        shown, note = _shown_tissue(
            dataset, _stored_bits(dataset, raw[is_tissue]).astype(np.float64), counts[is_tissue]
        )
        tissue = np.rint(shown.clip(0, 255)).astype(np.uint8)
        grey[is_tissue] = 255 - tissue if dataset.PhotometricInterpretation == "MONOCHROME1" else tissue
    return grey, note


def _is_padding(dataset: Any, raw: Values) -> NDArray[np.bool_]:
    """Pixels that stand for "no image here"; the value may be written with or without the pixels' sign."""
    first = _first_number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(raw.shape, dtype=np.bool_)
    last = _first_number(dataset, "PixelPaddingRangeLimit")
    ends = [int(end) for end in (first, first if last is None else last)]
    limits = np.iinfo(raw.dtype)
    low, high = sorted((end - limits.min) % (limits.max - limits.min + 1) + limits.min for end in ends)
    return (raw >= low) & (raw <= high)


def _stored_bits(dataset: Any, raw: Values) -> Values:
    """Without the bits above BitsStored, which old files use for overlays."""
    unused = 8 * raw.itemsize - int(dataset.get("BitsStored") or 8 * raw.itemsize)
    return (raw << unused) >> unused if unused > 0 else raw


def _shown_tissue(dataset: Any, stored: Values, counts: Values) -> tuple[Values, str]:
    """Each value in [0, 255], and a note on how; ``counts`` has the number of pixels of each value."""
    values = _through_modality(dataset, stored)
    tried = []
    for name, shown in _own_ways(dataset, values):
        if _shows_enough(np.rint(shown.clip(0, 255)), values, counts):
            return shown, ""
        tried.append(name)
    if np.ptp(values) == 0 and np.ptp(stored) > 0:
        values = stored
        tried.append("modality table or rescale slope")
    low, high = stretch_ends(values, counts)
    if low == high:
        return np.zeros_like(values), ""
    shown = (values - low) * (255.0 / (high - low))
    if not tried:
        return shown, ""
    names = " and its ".join(tried)
    return shown, f"by its {names} it shows hardly any grey between black and white; taken from darkest to brightest"


def _shows_enough(shown: Values, values: Values, counts: Values) -> bool:
    """Whether a share of the pixels is neither black nor white; of two values alone, whether they differ."""
    if np.ptp(shown) == 0:
        return False
    share = counts[(shown > 0) & (shown < 255)].sum() / counts.sum()
    return bool(share >= _LEAST_BETWEEN or ((values == values.min()) | (values == values.max())).all())


def _own_ways(dataset: Any, values: Values) -> Iterator[tuple[str, Values]]:
    """What the file's VOI tables and windows make of the values, each with its name, the first to be taken first."""
    for item in dataset.get("VOILUTSequence") or ():
        table, first, bits = _lookup_table(item)
        yield "table of grey values", _looked_up(values, table, first) * (255.0 / (2**bits - 1))
    function = "_".join(str(dataset.get("VOILUTFunction") or "LINEAR").upper().split())
    for center, width in zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False):
        if function not in _LEAST_WIDTH:
            raise DataError(f"has a {function[:16]} window of width {width:g}, which DICOM doesn't know")
        name = f"{function} window of center {center:g} and width {width:g}"
        yield name, 255.0 * _through_window(values, center, width, function)


def _through_modality(dataset: Any, stored: Values) -> Values:
    if dataset.get("ModalityLUTSequence"):
        table, first, _ = _lookup_table(dataset.ModalityLUTSequence[0])
        return _looked_up(stored, table, first)
    slope, intercept = _first_number(dataset, "RescaleSlope"), _first_number(dataset, "RescaleIntercept")
    values: Values = stored * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values


_LEAST_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}
"""Of a window, by its function; LINEAR may have just 1, the others must have more than 0."""


def _through_window(values: Values, center: float, width: float, function: str) -> Values:
    """Maps to [0, 1] as DICOM PS3.3 C.11.2.1.2 says; LINEAR takes a window of w values, not of a width w.

    A width that DICOM doesn't allow shows nothing, all of it 0.
    """
    if width <= 0 or width < _LEAST_WIDTH[function]:
        return np.zeros_like(values)
    if function == "SIGMOID":
        shares: Values = 1.0 / (1.0 + np.exp((-4.0 * (values - center) / width).clip(-700, 700)))
        return shares
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    shares = (values - center) / width + 0.5
    return shares.clip(0, 1)


def _lookup_table(item: Any) -> tuple[Values, int, int]:
    """A table's entries, the value that the first entry is for, and bits per entry."""
    try:
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        data, count = item.LUTData, count or 2**16
        if isinstance(data, bytes):
            data = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * count else "<u2")
        table = np.atleast_1d(np.asarray(data, dtype=np.float64))[:count]
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError("has a table of grey values that can't be read") from error
    if table.size < count or not 8 <= bits <= 16:
        raise DataError(
            f"has a table of grey values with {table.size} of {count} entries, {bits} bits; 8 to 16 are known"
        )
    return table, first, bits


def _looked_up(values: Values, table: Values, first: int) -> Values:
    return table[(np.rint(values) - first).clip(0, table.size - 1).astype(np.intp)]


def _first_number(dataset: Any, name: str) -> float | None:
    return next(iter(_numbers(dataset, name)), None)


def _numbers(dataset: Any, name: str) -> list[float]:
    """The values of an element that may hold one, several or none."""
    value = dataset.get(name)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = [float(one) for one in several if one is not None and one != ""]
    except (TypeError, ValueError):
        raise DataError(f"has a {name} that is no number") from None
    for number in numbers:
        if not np.isfinite(number):
            raise DataError(f"has {name} {number}; it must be finite")
    return numbers

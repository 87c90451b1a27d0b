"""Stored grey values of a DICOM image to the 8 bits that its own tables and window make of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orapo.errors import DataError

Values = NDArray[Any]


def show_grey(dataset: Any, pixels: Values) -> NDArray[np.uint8]:
    """What a viewer shows of stored grey pixels: modality table, then window, of DICOM PS3.3 C.11.

    Worked out per grey value that occurs, not per pixel.

    Args:
        dataset: of pydicom, with the elements of both steps where the file has them.
        pixels: as stored, [height, width], signed or unsigned integers.

    Returns:
        [height, width], 0 the darkest and 255 the brightest shown, not yet inverted for MONOCHROME1.

    Raises:
        DataError: a window or table that DICOM doesn't know.
    """
    if pixels.itemsize > 2:
        return _shown(dataset, pixels.astype(np.float64))
    low = int(pixels.min())
    offsets = pixels.astype(np.int32) - low
    levels = np.flatnonzero(np.bincount(offsets.ravel()))
    table = np.zeros(levels[-1] + 1, dtype=np.uint8)
    table[levels] = _shown(dataset, (levels + low).astype(np.float64))
    return table[offsets]


def _shown(dataset: Any, stored: Values) -> NDArray[np.uint8]:
    values = _through_modality(dataset, stored)
    if dataset.get("VOILUTSequence"):
        table, first, bits = _lookup_table(dataset.VOILUTSequence[0])
        shown = _looked_up(values, table, first) * (255.0 / (2**bits - 1))
    elif (window := _window(dataset)) is not None:
        shown = 255.0 * _through_window(values, *window, str(dataset.get("VOILUTFunction") or "LINEAR"))
    else:
        low, high = values.min(), values.max()
        shown = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    grey: NDArray[np.uint8] = np.rint(shown.clip(0, 255)).astype(np.uint8)
    return grey


def _through_modality(dataset: Any, stored: Values) -> Values:
    if dataset.get("ModalityLUTSequence"):
        table, first, _ = _lookup_table(dataset.ModalityLUTSequence[0])
        return _looked_up(stored, table, first)
    slope, intercept = _first_number(dataset, "RescaleSlope"), _first_number(dataset, "RescaleIntercept")
    values: Values = stored * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values


def _window(dataset: Any) -> tuple[float, float] | None:
    """Center and width of the first window; None when the file has none."""
    center, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    return None if center is None or width is None else (center, width)


def _through_window(values: Values, center: float, width: float, function: str) -> Values:
    """Maps to [0, 1] as DICOM PS3.3 C.11.2.1.2 says; LINEAR takes a window of w values, not of a width w."""
    if function == "SIGMOID" and width > 0:
        shares: Values = 1.0 / (1.0 + np.exp((-4.0 * (values - center) / width).clip(-700, 700)))
        return shares
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT" or width <= 0:
        raise DataError(f"has a {function[:16]} window of width {width:g}, which DICOM doesn't know")
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
    value = dataset.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    number = float(value)
    if not np.isfinite(number):
        raise DataError(f"has {name} {number}; it must be finite")
    return number

"""Identifiers of the data sets' studies, and what tells a made-up one.

An identifier counts as made up, and may stand in code, tests and documents, when it
- has at most two different digits (patient00001, p10000001, s55555555, dicom ids of zeros and ones), or
- counts upwards (patient12345, p12345678), or
- lies outside the numbers that the data set uses (patient90000, p20000001, s60000000), or
- is printed on the data set's own public page as an example, or
- is one of the first ten patients of CheXpert's train, valid or test part, from which examples count.
"""

import re
from collections.abc import Iterator

_PATIENT = re.compile(r"(?<![A-Za-z0-9])patient(\d{5})(?!\d)")  # CheXpert and CheXpert Plus
_SUBJECT = re.compile(r"(?<![A-Za-z0-9])p(1\d{7})(?!\d)")  # MIMIC-CXR
_STUDY = re.compile(r"(?<![A-Za-z0-9])s(5\d{7})(?!\d)")
_KEYED = re.compile(r"(?:subject|study)_id[\"']?\s*[:=]{1,2}\s*[\"']?([15]\d{7})(?!\d)")
_DICOM = re.compile(r"(?<![0-9a-f-])([0-9a-f]{8}(?:-[0-9a-f]{8}){4})(?![0-9a-f-])")

_LAST_PATIENT = 65_240
_FIRST_SUBJECT, _FIRST_STUDY = 10_000_032, 50_000_014
_PUBLISHED = frozenset(("42142", "10000032", "50414267"))
_STARTS_OF_PARTS = (1, 64_541, 64_741)


def is_made_up(text: str) -> bool:
    """Whether no identifier in the text can be a real one."""
    return next(real_identifiers(text), None) is None


def real_identifiers(text: str) -> Iterator[int]:
    """Positions of the identifiers that can be real ones."""
    for pattern in (_PATIENT, _SUBJECT, _STUDY, _KEYED, _DICOM):
        for found in pattern.finditer(text):
            if _may_be_real(found.group(1)):
                yield found.start()


def _may_be_real(digits: str) -> bool:
    if len(set(digits) - {"-"}) <= 2 or digits in _PUBLISHED or _counts_upwards(digits):
        return False
    if len(digits) == 5:
        number = int(digits)
        return number <= _LAST_PATIENT and not any(start <= number < start + 10 for start in _STARTS_OF_PARTS)
    if len(digits) == 8:
        return int(digits) >= (_FIRST_SUBJECT if digits[0] == "1" else _FIRST_STUDY)
    return True


def _counts_upwards(digits: str) -> bool:
    return digits in "12345678901234567890"

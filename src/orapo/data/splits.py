"""Which part of a data set a study belongs to; all studies of one patient go to the same part."""

import hashlib
import math
from collections.abc import Iterable

from orapo.errors import DataError, SettingError
from orapo.records import Split
from orapo.settings import Fraction, checked

_SPLIT_OF_WORD = {
    "train": Split.TRAIN,
    "validate": Split.VALIDATE,
    "valid": Split.VALIDATE,
    "val": Split.VALIDATE,
    "test": Split.TEST,
}


def split_from_word(word: str) -> Split:
    """Reads a table's word for a split, in any case: train, validate (also valid, val), test.

    Raises:
        DataError: it is none of these.
    """
    split = _SPLIT_OF_WORD.get(word.strip().lower())
    if split is None:
        raise DataError(f"split {word!r} is none of train, validate (or valid, val), test")
    return split


def seeded_rank(key: str, seed: int, purpose: str) -> bytes:
    """A pseudo-random value to sort by: it depends on these three only, never on what else is in the set.

    Args:
        key: what is ranked, for example a patient id.
        seed: another seed gives another order.
        purpose: keeps the orders of two uses of one seed independent of each other.
    """
    return hashlib.sha256(f"{purpose}\0{seed}\0{key}".encode()).digest()


@checked
def check_fractions(validate_fraction: Fraction, test_fraction: Fraction) -> None:
    """Checks the two fractions of patients, each in [0, 1].

    Raises:
        SettingError: one is outside, or they exceed 1 together.
    """
    if validate_fraction + test_fraction > 1.0 + 1e-9:
        raise SettingError(
            f"validate_fraction is {validate_fraction} and test_fraction {test_fraction}; together they exceed 1, and "
            "what is left of 1 is the fraction of training patients"
        )


def split_patients(
    patient_ids: Iterable[str], *, validate_fraction: float, test_fraction: float, seed: int
) -> dict[str, Split]:
    """Gives every patient one split.

    Patients are ordered by a seeded hash of their id; the first go to test, the next to validate, the rest to train.
    The result doesn't depend on the order or the repetition of the ids. Each part whose fraction is above 0 gets at
    least one patient, so that a table of twenty studies has a test set too.

    Args:
        patient_ids: the patients, repetitions allowed.
        validate_fraction: of the patients, in [0, 1].
        test_fraction: of the patients, in [0, 1]; training gets what both leave.
        seed: another seed gives another split.

    Raises:
        SettingError: fractions out of range.
        DataError: fewer patients than parts.
    """
    check_fractions(validate_fraction, test_fraction)
    ordered = sorted(set(patient_ids), key=lambda patient: (seeded_rank(patient, seed, "split"), patient))
    num_test = _share(len(ordered), test_fraction)
    num_validate = _share(len(ordered), validate_fraction)
    trains = validate_fraction + test_fraction < 1.0 - 1e-9
    num_train = len(ordered) - num_test - num_validate
    if num_train < int(trains):
        parts = int(trains) + int(validate_fraction > 0) + int(test_fraction > 0)
        raise DataError(
            f"{len(ordered)} patient(s) can't be split into {parts} parts without sharing a patient "
            f"(validate_fraction {validate_fraction}, test_fraction {test_fraction}); "
            "add patients, or set a fraction to 0"
        )
    parts_in_order = [Split.TEST] * num_test + [Split.VALIDATE] * num_validate + [Split.TRAIN] * num_train
    return dict(zip(ordered, parts_in_order, strict=True))


def _share(num_patients: int, fraction: float) -> int:
    """Rounds half up; at least one when the fraction isn't 0."""
    return max(1, math.floor(num_patients * fraction + 0.5)) if fraction > 0 else 0

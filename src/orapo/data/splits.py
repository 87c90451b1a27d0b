"""Which part of a data set a study belongs to; all studies of one patient go to the same part."""

import hashlib
import math
import re
from collections.abc import Collection, Iterable

from orapo.data.tables import quoted
from orapo.errors import DataError, SettingError
from orapo.records import Split
from orapo.settings import Fraction, checked

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("validate", "validation", "valid", "val", "dev"), Split.VALIDATE),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}
_OTHER_WORDS = frozenset({"development", "devel", "eval", "evaluation", "holdout", "heldout", "trn", "tst"})
"""That name a part too, but not which of the three."""

_LETTERS = re.compile(r"[^\W\d_]+")


def split_from_word(word: str) -> Split:
    """Reads a table's word for a split, in any case, as in ``_SPLIT_OF_WORD``.

    Raises:
        DataError: it is none of these.
    """
    split = _SPLIT_OF_WORD.get(word.strip().lower())
    if split is None:
        allowed = "train (or training), validate (or validation, valid, val, dev), test (or testing)"
        raise DataError(f"split {quoted(word)} is none of {allowed}")
    return split


def name_splits(cells: Collection[str]) -> bool:
    """Whether a column's cells name parts of a data set: training and another, in whichever words ("external_test")."""
    named = {cell.strip().lower() for cell in cells}
    parts = [_LETTERS.findall(cell) for cell in named if cell]
    is_split = all(any(word in _SPLIT_OF_WORD or word in _OTHER_WORDS for word in words) for words in parts)
    trains = any(_SPLIT_OF_WORD.get(word) is Split.TRAIN or word == "trn" for words in parts for word in words)
    return len(named) > 1 and is_split and trains


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


def hold_out(patient_ids: Iterable[str], num_patients: int, seed: int) -> frozenset[str]:
    """Patients kept out of training, the first by a seeded hash of their ids; at least one, at most a fifth of them.

    Raises:
        DataError: fewer than two patients.
    """
    patients = set(patient_ids)
    if len(patients) < 2:
        raise DataError(f"the table has {len(patients)} training patients; two at least are needed, to hold one out")
    num_held_out = min(num_patients, max(1, len(patients) // 5))
    return frozenset(sorted(patients, key=lambda patient: seeded_rank(patient, seed, "validate"))[:num_held_out])


def _share(num_patients: int, fraction: float) -> int:
    """Rounds half up; at least one when the fraction isn't 0."""
    return max(1, math.floor(num_patients * fraction + 0.5)) if fraction > 0 else 0

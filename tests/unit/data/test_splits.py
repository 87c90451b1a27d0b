import pytest
from hypothesis import given
from hypothesis import strategies as st

from orapo.data.splits import name_splits, seeded_rank, split_from_word, split_patients
from orapo.errors import DataError, SettingError
from orapo.records import Split

PATIENTS = st.lists(st.text(min_size=1, max_size=6), min_size=3, max_size=60)


@given(PATIENTS, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_order_or_repetition(patients, seed, random):
    if len(set(patients)) < 3:
        return
    once = split_patients(patients, validate_fraction=0.2, test_fraction=0.3, seed=seed)
    again = patients + patients[:5]
    random.shuffle(again)
    assert split_patients(again, validate_fraction=0.2, test_fraction=0.3, seed=seed) == once
    assert set(once) == set(patients)


@given(st.integers(1, 300), st.integers(0, 20))
def test_every_part_asked_for_gets_its_rounded_share_and_at_least_one(num_patients, seed):
    patients = [f"p{index}" for index in range(num_patients + 2)]
    splits = list(split_patients(patients, validate_fraction=0.1, test_fraction=0.2, seed=seed).values())
    counts = {split: splits.count(split) for split in Split}
    assert counts[Split.TEST] == max(1, int(len(patients) * 0.2 + 0.5))
    assert counts[Split.VALIDATE] == max(1, int(len(patients) * 0.1 + 0.5))
    assert counts[Split.TRAIN] >= 1


def test_worked_split_of_ten_patients():
    splits = split_patients([f"p{i}" for i in range(10)], validate_fraction=0.1, test_fraction=0.2, seed=0)
    by_rank = sorted(splits, key=lambda patient: seeded_rank(patient, 0, "split"))
    assert [splits[patient] for patient in by_rank] == [Split.TEST] * 2 + [Split.VALIDATE] + [Split.TRAIN] * 7


def test_another_seed_gives_another_split():
    patients = [f"p{i}" for i in range(50)]
    first, second = (split_patients(patients, validate_fraction=0.2, test_fraction=0.2, seed=seed) for seed in (0, 1))
    assert first != second


def test_fractions_of_zero_and_one_are_allowed():
    patients = ["a", "b"]
    assert set(split_patients(patients, validate_fraction=0, test_fraction=0, seed=0).values()) == {Split.TRAIN}
    assert set(split_patients(patients, validate_fraction=0, test_fraction=1, seed=0).values()) == {Split.TEST}


def test_too_few_patients_are_refused():
    with pytest.raises(DataError, match=r"2 patient\(s\) can't be split into 3 parts without sharing a patient"):
        split_patients(["a", "b", "a"], validate_fraction=0.1, test_fraction=0.1, seed=0)


@pytest.mark.parametrize(
    ("validate", "test", "message"),
    [
        (-0.1, 0.2, r"validate_fraction is -0.1; it must be a number, at least 0 and at most 1"),
        (0.1, 1.5, r"test_fraction is 1.5; it must be a number, at least 0 and at most 1"),
        (float("nan"), 0.1, "validate_fraction is nan"),
        (0.6, 0.5, r"validate_fraction is 0.6 and test_fraction 0.5; together they exceed 1"),
    ],
)
def test_fractions_out_of_range_are_refused(validate, test, message):
    with pytest.raises(SettingError, match=message):
        split_patients(["a", "b", "c"], validate_fraction=validate, test_fraction=test, seed=0)


@pytest.mark.parametrize(
    ("word", "split"),
    [("train", Split.TRAIN), ("Valid", Split.VALIDATE), ("dev", Split.VALIDATE), (" TESTING ", Split.TEST)],
)
def test_words_for_splits(word, split):
    assert split_from_word(word) is split


@pytest.mark.parametrize("word", ["", "eval", "trains", "0"])
def test_other_words_are_not_guessed(word):
    with pytest.raises(DataError, match=r"is none of train \(or training\), validate"):
        split_from_word(word)


def test_a_split_is_never_the_words_of_a_report():
    with pytest.raises(DataError, match="split 23 characters of text is none of"):
        split_from_word("Mild edema of the lungs")


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ({"training", "Testing"}, True),
        ({"train", "external_test", "internal-test", ""}, True),
        ({"train_1", "dev", "eval"}, True),
        ({"train"}, False),
        ({"test", "validation"}, False),
        ({"train", "station"}, False),
    ],
)
def test_a_column_that_names_splits_is_known(cells, names):
    assert name_splits(cells) is names

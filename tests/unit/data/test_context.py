"""Words, ages, sexes and dates of what a radiologist knows before looking."""

from datetime import date

import pytest

from orapo.data.context import (
    make_context,
    read_age,
    read_day,
    read_order,
    read_person,
    read_sex,
    read_time,
    without_marks,
)
from orapo.errors import DataError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("___ year old woman with cough", "year old woman with cough"),
        ("Cough, XXXX.", "Cough."),
        ("XXXX-year-old male", "year-old male"),
        ("Comparison with [**2180-5-6**].", "Comparison with."),
        ("___", ""),
        ("XXXX", ""),
        ("___/___/___.", ""),
        ("None.", ""),
        ("N/A", ""),
        (" Chest\n pain ", "Chest pain"),
        ("Hx of MAXXX lead", "Hx of MAXXX lead"),
        ("Pain (___)?", "Pain ()?"),
    ],
)
def test_marks_of_removed_words_are_kept_out(text, kept):
    assert without_marks(text) == kept


def test_the_indication_is_the_first_that_says_something():
    context = make_context({"indication": "___", "history": "Cough."}, prior=None)
    assert context.indication == "Cough."


@pytest.mark.parametrize(
    ("cell", "age"), [("63", 63), ("63.0", 63), ("063Y", 63), ("63 years old", 63), ("", None), ("nan", None), ("0", 0)]
)
def test_ages(cell, age):
    assert read_age(cell) == age


@pytest.mark.parametrize("cell", ["old", "-3", "1e3", "sixty"])
def test_what_is_no_age_is_refused(cell):
    with pytest.raises(DataError, match="age is"):
        read_age(cell)


@pytest.mark.parametrize(
    ("cell", "sex"), [("Female", "F"), ("m", "M"), (" F ", "F"), ("", ""), ("Unknown", ""), ("O", "")]
)
def test_sexes(cell, sex):
    assert read_sex(cell) == sex


def test_what_cannot_be_read_of_a_person_is_not_known():
    assert read_person("63", "f") == (63, "F")
    assert read_person("90+", "F") == (None, "F")


def test_days_and_orders():
    day = date(2180, 5, 6).toordinal()
    assert [read_day(cell) for cell in ("2180-05-06", "21800506", "21800506.0", "2180-05-06 10:00", "")] == [
        day
    ] * 4 + [None]
    assert [read_order(cell) for cell in ("3", "3.0", "", "nan")] == [3.0, 3.0, None, None]
    for cell in ("6 May", "2180-13-01", "2180"):
        with pytest.raises(DataError, match="is no day such as"):
            read_day(cell)
    for cell in ("third", "inf"):
        with pytest.raises(DataError, match="the order of a study is"):
            read_order(cell)


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("15", 54_000), ("1530", 55_800), ("090000", 32_400), ("90000.0", 32_400), ("09:00:00.5", 32_400.5)]
    + [(cell, None) for cell in ("", "nan", "9e4", "2500", "126100", "-1")],
)
def test_times(cell, seconds):
    assert read_time(cell) == seconds

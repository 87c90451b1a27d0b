"""The scanner finds what the forms match, however few of them it tries at each word."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orapo.errors import SettingError
from orapo.labeler.form_syntax import can_begin_with, first_characters, parse_form
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.scanner import Places, Scanner

LEXICON = load_lexicon("original")
PIECES = st.sampled_from(
    [
        *("the", "heart", "no", "not", "significantly", "enlarged", "is", "in", "of", "left", "right", "effusion", "?"),
        *("fractured", "lead", "upper limits", "normal", "lines", ";", "-", "tube,", "port-a-cath", "(mass)", "//"),
        *("cannot be excluded", "could", "represent", "0 cm", "bronchi-al", "un", "changed", "hila", "free air", "vs"),
    ]
)
SENTENCES = st.lists(PIECES, min_size=1, max_size=10).map(" ".join)


def _tried_everywhere(families: list[tuple[str, ...]], sentence: str) -> list[tuple[int, int, int]]:
    """What one plain pattern per family finds, tried at every start of a word or mark."""
    patterns = [re.compile(rf"(?:{'|'.join(forms)})(?![a-z0-9])") for forms in families]
    found: list[tuple[int, int, int]] = []
    reached = 0
    for start in range(len(sentence)):
        if start < reached or (start and sentence[start - 1].isalnum()) or sentence[start] == " ":
            continue
        for index, pattern in enumerate(patterns):
            if matched := pattern.match(sentence, start):
                reached = matched.end()
                found.append((start, reached, index))
                break
    return found


@given(SENTENCES)
def test_scan_finds_what_trying_every_form_everywhere_finds(sentence: str) -> None:
    families = [phrase.forms for phrase in LEXICON.phrases]
    assert LEXICON.phrase_scanner.scan(sentence) == _tried_everywhere(families, sentence)
    families = [cue.forms for cue in LEXICON.cues]
    assert LEXICON.cue_scanner.scan(sentence) == _tried_everywhere(families, sentence)


@given(SENTENCES)
def test_shared_places_leave_nothing_out(sentence: str) -> None:
    for_phrases, for_cues = LEXICON.places.of(sentence)
    assert LEXICON.phrase_scanner.scan(sentence, for_phrases) == LEXICON.phrase_scanner.scan(sentence)
    assert LEXICON.cue_scanner.scan(sentence, for_cues) == LEXICON.cue_scanner.scan(sentence)


@pytest.mark.parametrize(
    ("form", "letters", "is_whole_word", "expected"),
    [
        ("hearts?", "heart", True, True),
        ("hearts?", "hea", False, True),
        ("hearts?", "hear", True, False),
        ("hearts?", "heart si", False, True),
        ("the (?:big )?heart", "the li", False, False),
        ("the (?:big )?heart", "the bi", False, True),
        (r"(?:very |so ){0,2}big", "so very big", True, True),
        (r"(?:very |so ){0,2}big", "so so so", False, False),
        (r"(?<!no )\w+ mass(?! effect)", "anything", True, True),
        ("[ab]c", "bc", True, True),
        ("[ab]c", "cc", True, False),
    ],
)
def test_what_a_form_can_begin_with(form: str, letters: str, is_whole_word: bool, expected: bool) -> None:
    assert can_begin_with(parse_form(form), letters, is_whole_word=is_whole_word) is expected


def test_first_characters_look_through_what_may_be_left_out() -> None:
    assert first_characters(parse_form("(?:old )?[xy]ray|(?=z)scan")) == frozenset("oxys")
    assert "" in first_characters(parse_form("a?b?"))


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("(a)b", "capturing group"),
        ("(?:a", "unbalanced bracket"),
        ("more than 5", "names the digit 5"),
        ("a?", "match nothing"),
        (" a", "begin with a blank"),
    ],
)
def test_forms_the_labeler_cannot_keep_its_word_for_are_refused(form: str, problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        Scanner([(form,)])


def test_the_earlier_family_wins_at_one_place_and_matches_do_not_overlap() -> None:
    scanner = Scanner([("heart size",), ("heart", "size"), ("big heart",)])
    assert scanner.scan("a big heart size, heart") == [(2, 11, 2), (12, 16, 1), (18, 23, 1)]
    assert Places(scanner, Scanner([("a",), ("big",)])).of("a big heart") == ([(2, 6), (6, 12)], [(0, 2), (2, 6)])

"""What holds for every report: no text breaks the labeler, and layout, case and order of sentences don't matter."""

import random
import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.errors import SettingError
from orapo.labeler import Certainty, Labeler, Quirks
from orapo.labeler.ellipsis import leaves_out_noun
from orapo.labeler.sentences import clean, split_sentences

LABELERS = (Labeler(), Labeler("original"))
STATED = (LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN)

WORDS = st.sampled_from(
    """no|or|and|but|without|possible|may represent|not seen|is|are|the|small|left|right|effusion|pneumothorax|opacity
|heart|size|mediastinum|normal|enlarged|stable|unchanged|,|;|tube|line|chf|fracture|nodule|versus|cannot exclude|of
|resolved|congestion|calcified|granuloma|likely|with|1.5|cm|___|xxxx|?|:|/|-|new|consolidation|pneumonia|atelectasis
|no new|no change in|has been removed|larger|there is|lobe|apex|mild|likely|now|both|in the|vs|(""".replace(
        "\n", ""
    ).split("|")
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=14).map(" ".join)
REPORTS = st.lists(SENTENCES, max_size=6).map(lambda sentences: ". ".join([*sentences, ""]))


def read_in(labeler: Labeler, report: str) -> list[tuple[object, ...]]:
    """The mentions without their places in the report."""
    return [
        (m.observation, m.state, m.matched_text, m.cue, m.sentence, m.sentence_index) for m in labeler.mentions(report)
    ]


def texts_of(report: str) -> tuple[str, ...]:
    return tuple(sentence.text for sentence in split_sentences(report))


@given(st.text())
def test_any_text_gets_fourteen_states_and_mentions_that_quote_it(text: str) -> None:
    for labeler in LABELERS:
        report = labeler.label(text)
        assert tuple(report.states) == OBSERVATIONS
        sentences = split_sentences(text)
        for mention in report.mentions:
            assert mention.state in STATED
            assert sentences[mention.sentence_index].text == mention.sentence
            assert mention.matched_text.strip()
            assert text[mention.start : mention.end].strip()


@given(REPORTS)
def test_any_clinical_salad_gets_fourteen_states(text: str) -> None:
    for labeler in LABELERS:
        report = labeler.label(text)
        assert report.states[Observation.NO_FINDING] in (LabelState.POSITIVE, LabelState.UNMENTIONED)
        assert labeler.aggregate(report.mentions) == report.states
        for mention in report.mentions:
            is_denied = mention.state is LabelState.NEGATIVE and mention.observation is not Observation.NO_FINDING
            assert (mention.attributes.certainty is Certainty.DENIED) is is_denied


@given(REPORTS)
def test_case_does_not_matter(text: str) -> None:
    for labeler in LABELERS:
        assert labeler.mentions(text.upper()) == labeler.mentions(text) == labeler.mentions(text.capitalize())


@given(REPORTS, st.sampled_from(["\n", "  ", "\t", "\r\n \n", "\u00a0"]))
def test_white_space_does_not_matter(text: str, space: str) -> None:
    for labeler in LABELERS:
        assert read_in(labeler, text.replace(" ", space)) == read_in(labeler, text)


@given(st.lists(SENTENCES, max_size=6), st.randoms(use_true_random=False))
def test_order_of_sentences_does_not_matter(sentences: list[str], shuffler: random.Random) -> None:
    """But for those that speak of what the one before them names ("the left one is small")."""
    assume(not any(leaves_out_noun(sentence) for sentence in sentences))
    shuffled = sentences[:]
    shuffler.shuffle(shuffled)
    for labeler in LABELERS:
        first, second = (labeler.label(" ".join(f"{s} ." for s in order)) for order in (sentences, shuffled))
        assert first.states == second.states


@given(REPORTS, REPORTS)
def test_two_reports_joined_are_their_mentions_aggregated(first: str, second: str) -> None:
    """No exception in either mode: also where negative and uncertain hide positive, they do so over all mentions."""
    # The stop of "vs." is part of the word, so that such a report ends within a sentence.
    assume(not first.endswith("vs. ") and not leaves_out_noun(second))
    for labeler in LABELERS:
        both = labeler.mentions(first) + labeler.mentions(second)
        assert labeler.label(f"{first} {second}").states == labeler.aggregate(both)


@given(REPORTS)
@settings(max_examples=50)
def test_remembered_sentences_change_nothing(text: str) -> None:
    assert Labeler().label(text) == LABELERS[0].label(text) == LABELERS[0].label(text)


@given(SENTENCES)
def test_a_sentence_is_clean_already(text: str) -> None:
    for sentence in texts_of(text):
        assert sentence == sentence.lower().strip()
        assert re.search(r"\s\s|[^\x20-\x7e]", sentence) is None


@given(REPORTS, st.data())
def test_digits_change_the_quotes_only(text: str, data: st.DataObject) -> None:
    drawn = st.text("0123456789", min_size=text.count("5"), max_size=text.count("5"))
    digits = iter(data.draw(drawn))
    changed = "".join(next(digits) if character == "5" else character for character in text)
    for labeler in LABELERS:
        for kept, other in zip(labeler.mentions(text), labeler.mentions(changed), strict=True):
            assert kept[:3] == other[:3]
            assert kept.attributes._replace(size_mm=None) == other.attributes._replace(size_mm=None)
            assert (kept.start, kept.end) == (other.start, other.end)
            assert len(kept.cue) == len(other.cue)
            assert other.sentence in texts_of(changed)


@given(
    SENTENCES,
    st.sampled_from(
        ["{}", "FINDINGS:\n1. {}\n2. {}", "<p>{}</p><p>{}</p>", "* {}\n* {}", "\u201c{}\u201d\u200b.\r\n{}"]
    ),
)
def test_a_mention_stands_where_it_says(sentence: str, layout: str) -> None:
    """Whatever stands around a sentence, the report's characters there are the matched words."""
    for report in (layout.replace("{}", sentence), layout.replace("{}", sentence.upper())):
        for mention in LABELERS[0].mentions(report):
            assert clean(report[mention.start : mention.end]).text.strip() == mention.matched_text
            if mention.cue_start >= 0:
                cue = report[mention.cue_start : mention.cue_end]
                # Signs, alone or behind a colon, are read as a word only where their heading stands in front of them.
                assert not cue.strip(" :-") or clean(cue).text.strip() == mention.cue.strip()


def test_a_cue_with_a_number_is_quoted_as_written() -> None:
    for text in ("Heart more than 57 percent of the chest.", "Heart more than 61 percent of the chest."):
        (mention,) = LABELERS[0].mentions(text)
        assert mention.cue == text.lower()[6:18]


DEGENERATE = (
    *(
        "also ",
        "not also now very ",
        "effusion, ",
        "possible ",
        "cardiac and ",
        "no ",
        "1. ",
        "effusion or ",
        "normal ",
    ),
    *("the heart is ", "[**", ".", "a.b", "if indicated ", "mediastinal,", "?", "(", "lobe partial collapse "),
)


@pytest.mark.slow
@pytest.mark.parametrize("word", DEGENERATE)
def test_the_time_of_a_degenerate_report_is_in_proportion_to_its_length(word: str) -> None:
    started = time.process_time()
    LABELERS[0].label("effusion is not " + word * 100_000 + "seen")
    assert time.process_time() - started < 4.0


def test_a_report_without_a_full_stop_is_cut_between_words() -> None:
    words = ("effusion", "heart", "clear")
    sentences = texts_of(" ".join(words[index % 3] for index in range(2_000)))
    assert max(len(sentence) for sentence in sentences) <= 1_500
    assert " ".join(sentences).split() == [words[index % 3] for index in range(2_000)]


def test_normal_in_size_and_contour_is_no_mention_of_an_enlarged_mediastinum() -> None:
    for labeler in LABELERS:
        states = labeler.label("The heart is normal in size and contour.").states
        assert states[Observation.CARDIOMEGALY] is LabelState.NEGATIVE
        assert states[Observation.ENLARGED_CARDIOMEDIASTINUM] is not LabelState.POSITIVE


def test_the_empty_report_is_no_finding() -> None:
    for text in ("", "  \n", "___", "."):
        report = LABELERS[0].label(text)
        assert report.mentions == ()
        assert {o for o, s in report.states.items() if s is not LabelState.UNMENTIONED} == {Observation.NO_FINDING}


@pytest.mark.parametrize(("mode", "expected"), [("none", LabelState.POSITIVE), ("original", LabelState.UNCERTAIN)])
def test_positive_uncertain_and_negative_together(mode: str, expected: LabelState) -> None:
    text = "Left effusion. No right effusion. Possible subpulmonic effusion."
    assert Labeler(mode).label(text).states[Observation.PLEURAL_EFFUSION] is expected


@pytest.mark.parametrize("mode", ["none", "original"])
def test_two_different_states_aggregate_alike_in_both_modes(mode: str) -> None:
    labeler = Labeler(mode)
    cases = {
        "Left effusion. No right effusion.": LabelState.POSITIVE,
        "Left effusion. Possible right effusion.": LabelState.POSITIVE,
        "No left effusion. Possible right effusion.": LabelState.UNCERTAIN,
    }
    for text, expected in cases.items():
        assert labeler.label(text).states[Observation.PLEURAL_EFFUSION] is expected


@pytest.mark.parametrize(
    ("text", "observation"),
    [
        ("The trachea is midline in position.", Observation.SUPPORT_DEVICES),
        ("The hilar contour is bulky.", Observation.ENLARGED_CARDIOMEDIASTINUM),
    ],
)
def test_slips_belong_to_the_original_mode(text: str, observation: Observation) -> None:
    right, original = (labeler.label(text).states[observation] for labeler in LABELERS)
    assert (right, original) == (LabelState.UNMENTIONED, LabelState.POSITIVE)


def test_a_heart_of_which_nothing_is_said_counts_as_enlarged_unless_told_otherwise() -> None:
    text = "The heart and its vessels. Cardiomediastinal silhouette in the interval."
    states = LABELERS[0].label(text).states
    assert states[Observation.CARDIOMEGALY] is states[Observation.ENLARGED_CARDIOMEDIASTINUM] is LabelState.POSITIVE
    states = Labeler(Quirks(bare_heart_is_positive=False)).label(text).states
    assert states[Observation.CARDIOMEGALY] is LabelState.UNMENTIONED
    assert states[Observation.NO_FINDING] is LabelState.POSITIVE


def test_heart_failure_makes_cardiomegaly_uncertain_unless_negated() -> None:
    states = LABELERS[0].label("Findings of CHF.").states
    assert (states[Observation.EDEMA], states[Observation.CARDIOMEGALY]) == (LabelState.POSITIVE, LabelState.UNCERTAIN)
    states = LABELERS[0].label("No CHF.").states
    assert (states[Observation.EDEMA], states[Observation.CARDIOMEGALY]) == (
        LabelState.NEGATIVE,
        LabelState.UNMENTIONED,
    )


def test_unknown_quirks_are_refused() -> None:
    with pytest.raises(SettingError, match=r"'some'.*none, original"):
        Labeler("some")
    with pytest.raises(SettingError, match="vocabulary is 'all'"):
        Quirks(vocabulary="all")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Nodule of 1.5 cm. No effusion.", ("nodule of 1.5 cm", "no effusion")),
        ("Effusion.No pneumothorax", ("effusion", "no pneumothorax")),
        ("1. NO CHANGE.\n2. CLEAR LUNGS", ("no change", "clear lungs")),
        ("1) No change 2) Clear lungs", ("no change", "clear lungs")),
        ("FINAL REPORT\n FINDINGS: Clear.\n IMPRESSION: Normal", ("clear", "normal")),
        ("Edema vs. pneumonia, s/p CABG", ("edema versus pneumonia, status post cabg",)),
        ("Dr. ___ was called.", ("dr was called",)),
        ("Effusion , small ; stable", ("effusion, small ; stable",)),
    ],
)
def test_sentences(text: str, sentences: tuple[str, ...]) -> None:
    assert texts_of(text) == sentences

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orapo.data.report_heads import names_views, section_name
from orapo.data.report_sections import (
    MissingSection,
    Wanted,
    choose_sections,
    labelled_section,
    parse_sections,
)

RULE = "_" * 78
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old with cough  // any consolidation?

 TECHNIQUE:  Two views.

 COMPARISON:  None.

 FINDINGS:

 Both lungs are clear, at 10:30 as at ___.
 LEFT: a tube ends 2 cm above the carina. Note: it is short.
 AP: 10 cm.

 The heart is small.

 IMPRESSION:

 1. Nothing acute.
 2. A short tube.
"""


def test_a_usual_report_has_its_sections_in_order():
    sections = parse_sections(REPORT)
    assert list(sections) == ["examination", "indication", "technique", "comparison", "findings", "impression"]
    assert sections["examination"] == "CHEST (PA AND LAT)"
    assert sections["indication"] == "___ year old with cough  // any consolidation?"
    assert sections["impression"] == "1. Nothing acute.\n 2. A short tube."
    assert choose_sections(sections, Wanted.FINDINGS) == (
        "Both lungs are clear, at 10:30 as at ___. LEFT: a tube ends 2 cm above the carina. Note: it is short. "
        "AP: 10 cm. The heart is small."
    )
    assert choose_sections(sections, Wanted.FINDINGS_AND_IMPRESSION).split("\n")[1] == (
        "1. Nothing acute. 2. A short tube."
    )
    assert labelled_section(sections) == choose_sections(sections, Wanted.IMPRESSION)


@pytest.mark.parametrize("line_break", ["\r\n", "\r"])
def test_other_line_breaks_change_nothing(line_break):
    assert parse_sections(REPORT.replace("\n", line_break)) == parse_sections(REPORT)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("FINDINGS:", "findings"),
        ("   Findings :", "findings"),
        ("FINDING:", "findings"),
        ("FINDNGS:", "findings"),
        ("FINDIGNS:", "findings"),
        ("FINDINGSS:", "findings"),
        ("FINDINGS", "findings"),
        ("Impression", "impression"),
        ("IMPRESSION.", "impression"),
        ("IMPRESSION ", "impression"),
        ("MPRESSION:", "impression"),
        ("IMPRESSSION:", "impression"),
        ("CONCLUSION:", "impression"),
        ("OPINION:", "impression"),
        ("FINDINGS AND IMPRESSION:", "findings and impression"),
        ("FINDINGS/IMPRESSION:", "findings and impression"),
        ("FINDINGS / IMPRESSION:", "findings and impression"),
        ("Findings and Impression:", "findings and impression"),
        ("INDICATION:", "indication"),
        ("NDICATION:", "indication"),
        ("REASON FOR EXAM:", "indication"),
        ("Clinical history:", "history"),
        ("CLINCAL HISTORY:", "history"),
        ("TECHNIQUE:", "technique"),
        ("EXAM:", "examination"),
        ("COMPARISION:", "comparison"),
        ("COMPARISONS:", "comparison"),
        ("RECOMMENDATION(S):", "recommendation"),
        ("RECOMMENDATIONS:", "recommendation"),
        ("WET READ:", "wet read"),
        ("WET READ VERSION #2:", "wet read"),
        ("PROVISIONAL FINDINGS IMPRESSION (PFI):", "preliminary"),
        ("ADDENDUM", "addendum"),
        ("                 FINAL ADDENDUM", "addendum"),
        ("PA AND LATERAL CHEST RADIOGRAPHS:", "findings"),
        ("CHEST, TWO VIEWS:", "findings"),
        ("AP AND LATERAL:", "findings"),
    ],
)
def test_known_heads_open_a_section(head, name):
    assert parse_sections(f"Title\n{head}\n clear lungs") == {"preamble": "Title", name: "clear lungs"}


@pytest.mark.parametrize(
    "line",
    [
        "LEFT: clear",
        "RIGHT LUNG: clear",
        "Note: clear",
        "NOTE: clear",
        "AP: 10 cm",
        "PORTABLE: yes",
        "10:30 clear",
        "At 10:30: clear",
        "findings: none",
        "of the Impression: none",
        "impression",
        "History",
        "Comment: none",
        "Date: none",
        "Pa and lateral chest: clear",
        "MEDICATION: none",
        "FINDINGS ARE CLEAR",
        "NO FINDINGS:",
        "FINAL REPORTS: none",
        "_____ clear",
        "___",
    ],
)
def test_other_lines_open_none(line):
    assert parse_sections(f"TECHNIQUE: one view\n{line}\nclear lungs") == {
        "technique": f"one view\n{line}\nclear lungs"
    }


def test_a_view_within_findings_or_impression_is_text():
    assert parse_sections("FINDINGS:\nAP CHEST: clear\nIMPRESSION:\nAP CHEST: clear") == {
        "findings": "AP CHEST: clear",
        "impression": "AP CHEST: clear",
    }


def test_heads_may_follow_each_other_on_a_line():
    assert parse_sections("FINDINGS: IMPRESSION: clear\nHISTORY: Comparison: none") == {
        "findings": "",
        "impression": "clear",
        "history": "Comparison: none",
    }


def test_the_report_stands_before_its_addendum():
    text = (
        f"FINAL ADDENDUM\nADDENDUM: the tube was pulled\nIMPRESSION: tube\n{RULE}\n"
        "FINAL REPORT\nCHEST ON ___\nHISTORY: cough\nIMPRESSION: clear"
    )
    assert parse_sections(text) == {
        "earlier impression": "tube",
        "addendum": "the tube was pulled",
        "preamble": "CHEST ON ___",
        "history": "cough",
        "impression": "clear",
    }


def test_the_last_section_with_text_counts():
    assert parse_sections("FINDINGS: one\nFINDINGS: two\nIMPRESSION: none\nFINDINGS:\nFINDINGS: three\nFINDINGS:") == {
        "earlier findings": "one\n\ntwo",
        "impression": "none",
        "findings": "three",
    }


def test_an_addendum_below_the_report_is_no_part_of_the_impression():
    text = f"IMPRESSION: clear\n{RULE}\nsigned\nADDENDUM: pulled"
    assert parse_sections(text) == {"impression": "clear", "preamble": "signed", "addendum": "pulled"}


@pytest.mark.parametrize("text", ["", "  \r\n \n"])
def test_blank_reports_have_no_section(text):
    assert parse_sections(text) == {}
    with pytest.raises(MissingSection, match=r"^no section to label$"):
        labelled_section(parse_sections(text))


@pytest.mark.parametrize(
    ("sections", "findings", "impression", "both"),
    [
        ({"findings": " a\n  b ", "impression": "c"}, "a b", "c", "a b\nc"),
        ({"findings": "a"}, "a", "no impression section", "no impression section"),
        ({"impression": "c", "findings": " \n"}, "no findings section", "c", "no findings section"),
        ({"findings": "___.", "impression": "c"}, "no findings section", "c", "no findings section"),
        ({"comparison": "x"}, "no findings section", "no impression section", "no findings section"),
        ({"findings and impression": "d"}, "d", "no impression section", "d"),
        ({"findings and impression": "d", "impression": "c"}, "d", "c", "d\nc"),
        ({"findings and impression": "d", "findings": "a"}, "a", "no impression section", "no impression section"),
    ],
)
def test_the_sections_asked_for_are_chosen_or_named_as_missing(sections, findings, impression, both):
    def chosen(wanted):
        try:
            return choose_sections(sections, wanted)
        except MissingSection as missing:
            return missing.reason

    assert chosen(Wanted.FINDINGS) == findings
    assert chosen(Wanted.IMPRESSION) == impression
    assert chosen(Wanted.FINDINGS_AND_IMPRESSION) == both


@pytest.mark.parametrize(
    ("text", "labelled"),
    [
        ("FINDINGS: a\nIMPRESSION: b\nCOMPARISON: c", "b"),
        ("FINDINGS: a\nIMPRESSION:\nCOMPARISON: c", "a"),
        ("HISTORY: h\nFINDINGS/IMPRESSION: a", "a"),
        ("INDICATION: i\nCOMPARISON: c\n \n one\n two\n\n three", "one two three"),
        ("COMPARISON: c\nHISTORY: h", "c"),
        ("title\n\nall is clear", "all is clear"),
        ("PA AND LATERAL CHEST: a", "a"),
    ],
)
def test_the_labelled_section_is_that_of_the_label_tables(text, labelled):
    assert labelled_section(parse_sections(text)) == labelled


HEADS = ("FINDINGS:", "IMPRESSION:", "Comparison:", "PORTABLE CHEST:", "LEFT:", "FINAL REPORT", "NDICATION:", RULE)
lines = st.one_of(st.sampled_from(HEADS), st.from_regex(r"\A *[a-z]{1,4}[0-9]( [a-z]+[0-9]:?){0,3}\Z"), st.just(""))
HEAD_WORDS = {word for head in HEADS for word in re.findall(r"\w+", head)}


@given(st.lists(st.tuples(lines, lines), max_size=12))
@example([("FINDINGS:", "x0"), ("FINDINGS:", "x1"), ("FINDINGS:", "")])
def test_no_word_is_lost_or_doubled(pairs):
    text = "\n".join(f"{first} {second}" for first, second in pairs)
    kept = sorted(word for body in parse_sections(text).values() for word in re.findall(r"\w+", body))
    written = re.findall(r"\w+", text)
    assert [word for word in kept if word not in HEAD_WORDS] == sorted(w for w in written if w not in HEAD_WORDS)


@given(st.text())
@example("FINDINGS" * 1000)
@example("A " * 50_000)
@example("IMPRESSION" + " " * 50_000 + "x" + " " * 50_000)
@example("\n \t" * 20_000)
@example("\x00\x0b\u2028IMPRESSION:\ud800")
def test_any_text_is_read(text):
    sections = parse_sections(text)
    assert all(body == body.strip() for body in sections.values())


def test_heads_are_judged_alone():
    assert section_name("IMPRESSION", has_colon=False) == "impression"
    assert section_name("MPRESSION", has_colon=False) is None
    assert names_views("SINGLE PORTABLE VIEW OF THE CHEST")
    assert not names_views("LEFT")
    assert not names_views("CHEST TUBE")

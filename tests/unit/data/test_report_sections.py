import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orapo.data.report_heads import names_views, section_name
from orapo.data.report_sections import parse_sections
from orapo.data.target import report_text

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
    assert report_text(sections, "findings") == (
        "Both lungs are clear, at 10:30 as at ___. LEFT: a tube ends 2 cm above the carina. Note: it is short. "
        "AP: 10 cm. The heart is small."
    )
    assert report_text(sections, "both").endswith(" Impression: 1. Nothing acute. 2. A short tube.")


@pytest.mark.parametrize(
    ("text", "findings", "comparison"),
    [
        ("FINDINGS: Heart normal.\nCOMPARISON: None.\nNo effusion.", "Heart normal.\nNo effusion.", "None."),
        ("FINDINGS: Clear.\n\nCOMPARISON: Film of\n___.\n\nNo edema.", "Clear.\nNo edema.", "Film of\n___."),
        ("FINDINGS:\nCOMPARISON: None.\nThe lungs are clear.", "The lungs are clear.", "None."),
        ("CHEST, TWO VIEWS:\nCOMPARISON: ___.\nClear.", "Clear.", "___."),
        # Without another sentence all of it is the comparison.
        ("FINDINGS: Clear.\nCOMPARISON: Film of ___\nand CT of ___.", "Clear.", "Film of ___\nand CT of ___."),
        # Before the findings nothing tells where it ends but their head.
        ("COMPARISON: None.\nOld film.\nFINDINGS: Clear.", "Clear.", "None.\nOld film."),
    ],
)
def test_findings_continue_after_a_comparison_among_them(text, findings, comparison):
    sections = parse_sections(f"{text}\nIMPRESSION: Normal.")
    assert sections == {"findings": findings, "comparison": comparison, "impression": "Normal."}


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


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: Clear lungs.  IMPRESSION: Normal.",
        "FINDINGS: Clear lungs.IMPRESSION:Normal.",
        "FINDINGS:\tClear lungs.\tIMPRESSION:\tNormal.",
        "FINDINGS : Clear lungs. CONCLUSION : Normal.",
        "FINDINGS: Clear lungs. FINAL IMPRESSION: Normal.",
        "Findings: Clear lungs. Impression: Normal.",
        "IMPRESSION: Normal. FINDINGS: Clear lungs.",
        "FINDINGS: Clear lungs. **IMPRESSION:** Normal.",
        "**FINDINGS:** Clear lungs.\n**IMPRESSION:** Normal.",
        "**Findings**\nClear lungs.\n\n**Impression**: Normal.",
        "**findings:** Clear lungs.\n\n**impression:** Normal.",
        "***FINDINGS***: Clear lungs.\n__IMPRESSION__ Normal.",
        "## Findings\nClear lungs.\n\n## Impression\n\nNormal.",
        "# FINDINGS:\nClear lungs.\n> IMPRESSION: Normal.",
        "[FINDINGS] Clear lungs.\n[IMPRESSION]: Normal.",
        "1. FINDINGS: Clear lungs.\n2. IMPRESSION: Normal.",
        "1) Findings:\n Clear lungs.\n2) Impression\n Normal.",
        "- FINDINGS: Clear lungs.\n- IMPRESSION: Normal.",
        "FINDING(S): Clear lungs.\nIMPRESSION(S): Normal.",
        "FINDINGS. Clear lungs.\nIMPRESSION. Normal.",
        "Findings. Clear lungs.\nImpression - Normal.",
        "FINDINGS \u2013 Clear lungs.\nIMPRESSION -- Normal.",
        "FINDINGS\uff1aClear lungs.\nIMPRESSION\uff1aNormal.",
    ],
)
def test_heads_within_a_line_and_heads_in_other_dress(text):
    assert parse_sections(text) == {"findings": "Clear lungs.", "impression": "Normal."}


def test_a_report_in_one_line_has_all_its_sections():
    text = "TECHNIQUE: PA. COMPARISON: None. FINDINGS: lungs clear IMPRESSION: normal"
    assert parse_sections(text) == {
        "technique": "PA.",
        "comparison": "None.",
        "findings": "lungs clear",
        "impression": "normal",
    }


@pytest.mark.parametrize(
    "line",
    [
        "There are the following findings: none",
        "Clear. the impression: none",
        "as in the FINDINGS: section",
        "We had these Findings: none",
        "NO FINDINGS: none",
        "Clear. Comparison: none",
        "CLEAR. COMPARISON: NONE",
        "- FINDINGS of edema",
        "1. Findings of edema",
        "2. Impression of a nodule",
        "Findings.of edema",
        "Impression-like opacity",
        "Clear. Impressions of it: none",
    ],
)
def test_prose_with_such_words_opens_none(line):
    assert parse_sections(f"TECHNIQUE: one view\n{line}\nclear lungs") == {
        "technique": f"one view\n{line}\nclear lungs"
    }


@pytest.mark.parametrize(
    "line",
    [
        "___ study: the effusion is larger",
        "___ exam",
        "__Findings: none",
        "* Comparison: none",
        "> history: of CABG",
        "2. RECOMMENDATION: CT chest.\n3. Small effusion.",
        "- COMPARISON: none\n- effusion",
    ],
)
def test_a_mark_of_its_own_kind_cuts_no_findings(line):
    text = f"FINDINGS: normal. Compared to\n{line}\nclear lungs\n\nIMPRESSION: none"
    assert parse_sections(text) == {
        "findings": f"normal. Compared to\n{line}\nclear lungs",
        "impression": "none",
    }


@pytest.mark.parametrize("head", ["Findings - were", "Findings: were", "FINDINGS:"])
def test_a_note_of_who_was_told_is_not_findings(head):
    text = f"FINDINGS: edema\nIMPRESSION: failure\n{head} discussed with Dr. X."
    note = f"{head} discussed with Dr. X.".removeprefix("Findings").removeprefix("FINDINGS").lstrip(" :-")
    assert parse_sections(text) == {"findings": "edema", "impression": "failure", "notification": note}


def test_a_section_that_says_nothing_replaces_no_text():
    text = "FINDINGS: edema\nIMPRESSION: failure\nADDENDUM\nFINDINGS: N/A\nIMPRESSION: See above."
    sections = parse_sections(text)
    assert (sections["findings"], sections["impression"]) == ("edema", "failure")
    assert parse_sections("COMPARISON: May\nCOMPARISON: None.")["comparison"] == "None."


def test_numbered_heads_open_other_sections():
    text = "1. INDICATION: cough\n2. FINDINGS: clear\n3. RECOMMENDATION:\n1. CT\n2. MRI"
    assert parse_sections(text) == {"indication": "cough", "findings": "clear", "recommendation": "1. CT\n2. MRI"}


def test_a_head_within_a_line_yields_to_one_at_the_start_of_a_line():
    text = "FINDINGS: one.\nThis is edema. Findings: as above. IMPRESSION: none.\nIMPRESSION: two"
    assert parse_sections(text) == {
        "findings": "one.\nThis is edema. Findings: as above. IMPRESSION: none.",
        "impression": "two",
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


HEADS = ("FINDINGS:", "IMPRESSION:", "Comparison:", "PORTABLE CHEST:", "LEFT:", "FINAL REPORT", "NDICATION:", RULE)
lines = st.one_of(st.sampled_from(HEADS), st.from_regex(r"\A *[a-z]{1,4}[0-9]( [a-z]+[0-9]:?){0,3}\Z"), st.just(""))
HEAD_WORDS = {word for head in HEADS for word in re.findall(r"\w+", head)}


@given(st.lists(st.tuples(lines, lines), max_size=12))
@example([("FINDINGS:", "x0"), ("FINDINGS:", "x1"), ("FINDINGS:", "")])
@pytest.mark.slow
def test_no_word_is_lost_or_doubled(pairs):
    text = "\n".join(f"{first} {second}" for first, second in pairs)
    kept = sorted(word for body in parse_sections(text).values() for word in re.findall(r"\w+", body))
    written = re.findall(r"\w+", text)
    assert [word for word in kept if word not in HEAD_WORDS] == sorted(w for w in written if w not in HEAD_WORDS)


@given(st.text())
@example("FINDINGS" * 1000)
@example("A " * 50_000)
@example("IMPRESSION" + " " * 50_000 + "x" + " " * 50_000)
@example("x. FINDINGS: " * 1000)
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

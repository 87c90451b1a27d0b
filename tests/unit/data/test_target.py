"""Which text of a report is learnt, and what says nothing."""

import pytest

from orapo.data.report_sections import MissingSection
from orapo.data.target import report_text

BOTH = {"findings": " Clear\n lungs. ", "impression": "Normal."}
COMMON = {"findings and impression": "Clear lungs. Normal."}


@pytest.mark.parametrize(
    ("sections", "target", "text"),
    [
        (BOTH, "findings", "Clear lungs."),
        (BOTH, "impression", "Normal."),
        (BOTH, "both", "Findings: Clear lungs. Impression: Normal."),
        (COMMON, "findings", "Clear lungs. Normal."),
        (COMMON, "both", "Clear lungs. Normal."),
        (COMMON | {"impression": "Normal."}, "both", "Findings: Clear lungs. Normal. Impression: Normal."),
        ({"report": " Clear\n lungs. "}, None, "Clear\n lungs."),
    ],
)
def test_the_text_of_a_target(sections, target, text):
    assert report_text(sections, target) == text


@pytest.mark.parametrize("nothing", ["", " \n", "N/A", "-", "___", "nan", "See impression.", "12."])
def test_what_says_nothing_is_no_section(nothing):
    for target, sections, reason in (
        ("findings", {"findings": nothing, "impression": "Normal."}, "no findings section"),
        ("both", {"findings": "Clear.", "impression": nothing}, "no impression section"),
        ("impression", {"findings": "Clear.", "impression": nothing}, "no impression section"),
        (None, {"report": nothing}, "no report"),
    ):
        with pytest.raises(MissingSection) as missing:
            report_text(sections, target)
        assert missing.value.reason == reason


def test_a_common_section_is_no_impression():
    with pytest.raises(MissingSection, match="no impression section"):
        report_text(COMMON, "impression")

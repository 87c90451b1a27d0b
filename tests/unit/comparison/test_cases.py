"""What a case page is told: facts by verdict, refusals with their reasons, evidence; of private studies nothing."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.comparison.run_folders import FakeRun, marks, write_run

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.comparison.cases import PRIVATE_HIDDEN, PRIVATE_SHOWN, Cases, CaseSystem, case_page
from orapo.comparison.page_template import as_data, fill
from orapo.errors import DataError
from orapo.evaluation.answers import Answered
from orapo.evaluation.report_pairs import ReportPair, write_report_pairs
from orapo.experiment.compare_command import main
from orapo.labeler import Labeler

CANARY = "ZanzibarCanary"
ORACLE = "Small left pleural effusion, increased. The heart is normal in size."
GENERATED = (
    f"Moderate left pleural effusion. No pneumothorax. There is edema. Effusion the of {CANARY}. There is edema. "
    "\U0001f9b4"
)


def pair(study_id: str = "s1", generated: str = GENERATED, oracle: str = ORACLE) -> ReportPair:
    labeler = Labeler()
    return ReportPair(study_id, oracle, generated, labeler.label(oracle).states, labeler.label(generated).states)


def cases(*pairs: ReportPair, is_private: bool = False, shows_private: bool = False) -> Cases:
    return Cases((CaseSystem("a system", pairs or (pair(),)),), is_private, shows_private, uncertain_is_positive=False)


def place(observation: Observation) -> int:
    return OBSERVATIONS.index(observation)


def test_facts_stand_where_they_are_with_their_verdicts() -> None:
    (case,) = cases().content()["cases"]
    (report,) = case["reports"]
    facts = {GENERATED[start:end]: verdicts for start, end, verdicts in report["facts"]}
    assert facts == {
        "Moderate left pleural effusion": [[place(Observation.PLEURAL_EFFUSION), "e"]],
        "No pneumothorax": [[place(Observation.PNEUMOTHORAX), "c"]],
        "There is edema": [[place(Observation.EDEMA), "e"]],
    }
    refused = {GENERATED[start:end]: reason for start, end, reason in report["refused"]}
    assert refused["There is edema"] == "repeated"
    assert any(CANARY in statement and reason for statement, reason in refused.items())
    again = next(start for start, _, reason in report["refused"] if reason == "repeated")
    assert again > GENERATED.index(CANARY), "the second of the two is the refused one"


def test_scores_are_facts_and_overlap() -> None:
    (case,) = cases().content()["cases"]
    scores = case["reports"][0]["scores"]
    # One of two entailed is present: P 1/2, R 1/1; F-beta with beta 2: 5 * 0.5 / (4 * 0.5 + 1).
    assert (scores["precision"], scores["recall"], scores["reward"]) == (0.5, 1.0, 0.8333)
    assert 0 < scores["ROUGE-L"] < 1
    assert case["truth"][place(Observation.PLEURAL_EFFUSION)] == "p"
    assert case["reports"][0]["states"][place(Observation.EDEMA)] == "p"


def test_evidence_has_its_place_and_attributes() -> None:
    (case,) = cases().content()["cases"]
    effusion = [each for each in case["mentions"] if each[0] == place(Observation.PLEURAL_EFFUSION)]
    ((_, state, start, end, stated),) = effusion
    assert (state, ORACLE[start:end], stated) == ("p", "effusion", "left, mild, larger")


def test_what_is_private_is_left_out_unless_asked_for() -> None:
    def opens(_: str) -> list[Image.Image]:
        raise AssertionError("a private picture was opened")

    private = Cases((CaseSystem("a system", (pair("patient-7"),)),), True, False, False, opens)
    page = case_page(private)
    for secret in (CANARY, "left pleural", "patient-7", "repeated"):
        assert secret not in page
    assert PRIVATE_HIDDEN in page.replace("&#x27;", "'")
    shown = case_page(cases(pair("patient-7"), is_private=True, shows_private=True))
    assert CANARY in shown
    assert "patient-7" in shown
    assert PRIVATE_SHOWN in shown.replace("&#x27;", "'")


def test_reports_are_never_markup() -> None:
    page = case_page(cases(pair(generated="</script><b>{{title}} \u2028 &")))
    assert "</script><b>" not in page
    assert "\u2028" not in page
    start = page.index('id="data">') + len('id="data">')
    content = json.loads(page[start : page.index("</script>", start)])
    assert content["cases"][0]["reports"][0]["text"] == "</script><b>{{title}} \u2028 &"


def test_pictures_are_small_and_grey() -> None:
    large = Image.new("RGB", (900, 450), (200, 100, 50))
    told = Cases((CaseSystem("a system", (pair(),)),), False, False, False, lambda _: (large, large, large))
    (case,) = told.content()["cases"]
    assert (len(case["images"]), case["numImages"]) == (2, 3)
    with Image.open(io.BytesIO(base64.b64decode(case["images"][0]))) as picture:
        assert (picture.size, picture.mode) == ((224, 112), "L")


def test_an_image_that_cannot_be_opened_is_told_in_its_case() -> None:
    def opens(study_id: str) -> list[Image.Image]:
        if study_id == "s2":
            raise DataError("study s2: s2.png is truncated")
        return [Image.new("L", (8, 8))]

    told = Cases((CaseSystem("a system", (pair("s1"), pair("s2"), pair("s3"))),), False, False, False, opens)
    first, second, third = told.content()["cases"]
    assert [len(first["images"]), len(third["images"])] == [1, 1]
    assert second["noImages"] == "study s2: s2.png is truncated"
    assert second["oracle"] == ORACLE
    assert "s2.png is truncated" in case_page(told)


def test_a_system_without_a_report_and_an_empty_report() -> None:
    first, second = (pair("s1", ""), pair("s2")), (pair("s2"),)
    both = Cases((CaseSystem("a", first), CaseSystem("b", second)), False, False, False)
    one, other = both.content()["cases"]
    assert one["reports"][0]["isEmpty"]
    assert one["reports"][1] is None
    assert other["reports"][1] == other["reports"][0]
    with pytest.raises(DataError, match="1 to 4 systems, got 0"):
        Cases((), False, False, False)


def test_answers_to_questions_are_no_reports() -> None:
    answered = replace(pair(), answer=Answered("51", "51", True, "sums"))
    with pytest.raises(DataError, match="answers to questions"):
        cases(answered)


def test_a_template_names_what_it_lacks() -> None:
    with pytest.raises(KeyError, match="data"):
        fill("case_page.html", title="x", notice="")
    with pytest.raises(ValueError, match="JSON compliant"):
        as_data({"reward": float("nan")})


def test_compare_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called, true = marks(0, 12, 0.5)
    source = {"_target_": "orapo.data.phantoms.source.PhantomSource", "seed": 0}
    write_run(tmp_path / "run", FakeRun({"data__source": source, "data__is_private": False}, called, true))
    page = tmp_path / "cases.html"
    write_report_pairs(tmp_path / "run" / "base_test_reports.jsonl", [pair(f"s{number}") for number in range(12)])
    assert main([str(tmp_path / "run"), "--cases", str(page)]) == 0
    text = page.read_text()
    assert "12 cases: orapo and before training" in text
    assert text.count('"noImages":"') == 12, "its studies are made up"
    assert "written: " in capsys.readouterr().out
    private = {"data__source": source, "data__is_private": True, "seed": 1}
    write_run(tmp_path / "private", FakeRun(private, called, true))
    assert main([str(tmp_path / "private"), "--cases", str(page)]) == 0
    assert "Made-up" not in page.read_text()
    both = [str(tmp_path / "run"), str(tmp_path / "private")]
    assert main([*both, "--cases", str(page)]) == 0
    assert "Made-up" not in page.read_text(), "one of the two is private"
    assert main([str(tmp_path / "private"), "--show-private"]) == 1
    assert "--show-private is of --cases" in capsys.readouterr().err
    assert main([str(tmp_path / "private"), "--cases", str(page), "--show-private"]) == 0
    assert "Made-up" in page.read_text()


def test_more_groups_than_the_page_shows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called, true = marks(0, 6, 0.5)
    for alpha in range(6):
        write_run(tmp_path / "runs" / str(alpha), FakeRun({"objective__alpha": alpha / 10}, called, true))
    page = tmp_path / "cases.html"
    assert main([str(tmp_path / "runs"), "--cases", str(page), "--baseline", "alpha=0.3"]) == 0
    assert "--cases shows 4 groups, the baseline first; 2 more are left out" in capsys.readouterr().out
    assert "6 cases: alpha=0.3 and" in page.read_text()

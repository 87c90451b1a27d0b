"""The tables: every control a row, or the reason why not; no number cut off, whatever the names."""

from tests.unit.evaluation.scores import EXAMINER

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.evaluation.evaluation_table import WIDTH, EvaluationTables, tables_text
from orapo.evaluation.examiner import SystemScores
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.resampling import Difference

BLANK: LabelStates = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
EDEMA: LabelStates = {**BLANK, Observation.EDEMA: LabelState.POSITIVE}
PAIRS = [
    ReportPair("1", "There is edema.", "There is edema.", EDEMA, EDEMA, seconds=0.25, cost_usd=0.001),
    ReportPair("2", "", "There is edema.", BLANK, EDEMA, seconds=0.75, cost_usd=0.003),
]


def scores(title: str, note: str = "") -> SystemScores:
    return EXAMINER.scored(title, tuple(PAIRS), note=note)


def tables(title: str = "a system") -> EvaluationTables:
    systems = {
        "system": scores(title, note="cut off reports 3"),
        "shuffled_images": scores("shuffled images"),
        "always_positive": scores("always positive"),
        "label_frequencies": SystemScores("label frequencies", not_computed="nobody trained"),
        "most_common_report": scores("most common report"),
    }
    differences = {"rouge_l": Difference(0.25, -0.125, 0.5, 0.0625)}
    return EvaluationTables("Headline", systems, "the other", differences, "uncertain_positive", 0.95)


def test_what_the_tables_say() -> None:
    text = tables_text(tables(), everything=False)
    lines = {" ".join(line.split()) for line in text.splitlines()}
    # Edema: 1 TP, 1 FP. Micro: P 1/2, R 1, F1 2/3.
    assert "a system macro 0.036 [0.000, 0.071] 0.071 [0.000, 0.071] 0.048 [0.000, 0.071]" in lines
    assert any(line.startswith("Edema 1 0.500 [") for line in lines)
    assert "ROUGE-L +0.250 [-0.125, +0.500] 0.062" in lines
    assert "Text: 1 of 2 studies have a report to compare with" in lines
    assert "label frequencies: not computed: nobody trained" in lines
    assert "a system: cut off reports 3" in lines
    assert any(line.startswith("seconds per image 0.5000 [0.2500, 0.7500]") for line in lines)
    assert any(line.startswith("US dollars per image 0.0020 [0.0010, 0.0030]") for line in lines)
    assert "uncertain is not positive" not in text
    assert "uncertain is not positive" in tables_text(tables(), everything=True)


def test_no_name_steers_the_terminal() -> None:
    text = tables_text(tables("a\x1b[2Jb"), everything=False)
    assert "\x1b" not in text
    assert r"a\x1b[2Jb" in text


def test_long_names_cut_off_no_number() -> None:
    text = tables_text(tables("a/very/long/" * 12 + "end"), everything=True)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    assert "end" in text


def test_counts_are_of_both_readings() -> None:
    counts = scores("a system").counts
    assert counts["distinct_reports"] == 1
    for reading in ("uncertain_not_positive", "uncertain_positive"):
        found = [counts[f"{reading}/Edema/{name}"] for name in ("support", "true_positives", "false_positives")]
        assert found == [1, 1, 1]

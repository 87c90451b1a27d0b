"""One examiner: second readers, scorers and a real metric server beside the labeler, from reports or from a file."""

from pathlib import Path

import pytest
from tests.metric_server import running_server

from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms.source import PhantomSource
from orapo.evaluation.examiner import Examiner, system_measures
from orapo.evaluation.report_pairs import Written, read_report_pairs, write_report_pairs
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.evaluation_controls import TERMS, term_scorer
from orapo.labeler import Labeler
from orapo.measures.served import ServedMetric, ServedMetrics, ServedSettings
from orapo.records import Split

STUDIES = [PhantomSource().study(Split.TEST, index) for index in range(6)]
ORACLE = Written(tuple(study.oracle_report for study in STUDIES), seconds=(0.5,) * 6)
MACRO = "uncertain_not_positive/all_14/micro/f1"


@pytest.mark.slow
def test_what_stands_beside_the_labeler(tmp_path: Path) -> None:
    with running_server(tmp_path, "--metrics", "token_f1") as server:
        settings = ServedSettings({"token_f1": ServedMetric()}, api_base=server.api_base, cache="off")
        examiner = Examiner(
            Labeler(),
            Bootstrap(100),
            {"phantom_grammar": PhantomReader()},
            term_scorer(uncertain_is_positive=False),
            ServedMetrics(settings),
        )
        pairs = examiner.read(STUDIES, ORACLE)
        games = ORACLE.reports[0].replace(".", " here.")
        gamed = examiner.read(STUDIES, Written((games, *ORACLE.reports[1:])))
    perfect, worse = examiner.scored("oracle", pairs), examiner.scored("gamed", gamed)
    for name in (MACRO, f"phantom_grammar/{MACRO}", "score/token_f1", *(f"score/reward_{term}" for term in TERMS)):
        assert perfect.estimates[name].value == pytest.approx(1), name
    assert perfect.estimates["phantom_grammar/refused_fraction"].value == 0
    # What the labeler still reads, the parser of the grammar does not.
    assert worse.estimates[MACRO].value == 1
    assert worse.estimates[f"phantom_grammar/{MACRO}"].value < 1
    assert worse.estimates["phantom_grammar/refused_fraction"].value == pytest.approx(1 / 6)
    assert 0.9 < worse.estimates["score/token_f1"].value < 1
    difference = examiner.differences(worse, perfect)["score/token_f1"]
    assert difference.low <= difference.value < 0


def test_every_measure_but_time_comes_back_from_the_file(tmp_path: Path) -> None:
    examiner = Examiner(
        Labeler(), Bootstrap(100), {"phantom_grammar": PhantomReader()}, term_scorer(uncertain_is_positive=False)
    )
    shuffled = (1, 0, 3, 2, 5, 4)
    pairs = examiner.read(STUDIES, Written(ORACLE.reports[::-1], seconds=(0.5,) * 6), shuffled)
    assert [pair.shown_study_id for pair in pairs] == [STUDIES[place].study_id for place in shuffled]
    write_report_pairs(tmp_path / "reports.jsonl", pairs)
    again = system_measures(read_report_pairs(tmp_path / "reports.jsonl")).values()
    values = system_measures(pairs).values()
    assert values.pop("seconds_per_image") == 0.5
    assert again == values

"""The table at the end of a run, as a log shows it."""

import dataclasses
import io

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.evaluation.clinical import ClinicalScores, clinical_scores
from orapo.evaluation.controls import always_positive_states
from orapo.evaluation.summary_table import RunSummary, print_run_summary, run_summary_text

EDEMA, FRACTURE = Observation.EDEMA, Observation.FRACTURE
RUN_FOLDER = "logs/" + "a-rather-long-run-name-" * 5 + "/2026-01-02_03-04-05"


def scores(*called: tuple[Observation, ...]) -> ClinicalScores:
    """Of three studies: edema, edema and fracture, nothing."""

    def states(present: tuple[Observation, ...]) -> LabelStates:
        return {o: LabelState.POSITIVE if o in present else LabelState.UNMENTIONED for o in OBSERVATIONS}

    return clinical_scores([states(one) for one in called], [states((EDEMA,)), states((EDEMA, FRACTURE)), states(())])


@pytest.fixture
def summary() -> RunSummary:
    true = scores((EDEMA,), (EDEMA, FRACTURE), ())
    return RunSummary(
        base=scores((FRACTURE,), (FRACTURE,), ()),
        trained=true,
        shuffled=scores((EDEMA, FRACTURE), (), (EDEMA,)),
        always_positive=clinical_scores(
            always_positive_states(3),
            [dict.fromkeys(OBSERVATIONS, LabelState.POSITIVE)] + [dict.fromkeys(OBSERVATIONS, LabelState.NEGATIVE)] * 2,
        ),
        base_seconds_per_image=None,
        trained_seconds_per_image=0.0214,
        run_folder=RUN_FOLDER,
        files={"summary.json": "every number above", "model/": "loads with from_pretrained"},
    )


SNAPSHOT = f"""
Test: 3 studies, 14 observations

                         macro  macro  macro  micro  micro  micro    seconds
                             P      R     F1      P      R     F1  per image
 ────────────────────────────────────────────────────────────────────────────
 base policy             0.036  0.071  0.048  0.500  0.333  0.400          -
 trained policy          0.143  0.143  0.143  1.000  1.000  1.000      0.021
   with shuffled images  0.036  0.036  0.036  0.333  0.333  0.333          -
 always-positive report  0.333  1.000  0.500  0.333  1.000  0.500          -

Macro F1: mean of the 14 F1 values. 0/0 counts as 0. Uncertain is not positive.
Shuffled images: each report was written for another study's images. The closer
to the trained policy, the less it reads the image.

F1 of each observation

                             support   base  trained  change  shuffled
 ──────────────────────────────────────────────────────────────────────
 No Finding                        0  0.000    0.000  +0.000     0.000
 Enlarged Cardiomediastinum        0  0.000    0.000  +0.000     0.000
 Cardiomegaly                      0  0.000    0.000  +0.000     0.000
 Lung Lesion                       0  0.000    0.000  +0.000     0.000
 Lung Opacity                      0  0.000    0.000  +0.000     0.000
 Edema                             2  0.000    1.000  +1.000     0.500
 Consolidation                     0  0.000    0.000  +0.000     0.000
 Pneumonia                         0  0.000    0.000  +0.000     0.000
 Atelectasis                       0  0.000    0.000  +0.000     0.000
 Pneumothorax                      0  0.000    0.000  +0.000     0.000
 Pleural Effusion                  0  0.000    0.000  +0.000     0.000
 Pleural Other                     0  0.000    0.000  +0.000     0.000
 Fracture                          1  0.667    1.000  +0.333     0.000
 Support Devices                   0  0.000    0.000  +0.000     0.000

Everything lies in {RUN_FOLDER}
  summary.json  every number above
  model/        loads with from_pretrained
"""


def test_snapshot(summary: RunSummary) -> None:
    assert run_summary_text(summary) == SNAPSHOT


def test_plain_text_even_where_colour_is_forced(summary: RunSummary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert run_summary_text(summary) == SNAPSHOT


def test_a_stream_that_is_no_terminal_gets_80_plain_columns(summary: RunSummary) -> None:
    stream = io.StringIO()
    print_run_summary(summary, stream)
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert max(len(line) for line in lines if not line.startswith("Everything")) <= 80


def test_a_log_without_unicode_is_served(summary: RunSummary) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_run_summary(summary, stream)
    stream.flush()


def test_the_uncertain_mapping_is_said(summary: RunSummary) -> None:
    lenient = dataclasses.replace(summary.trained, uncertain_is_positive=True)
    assert "Uncertain is positive." in run_summary_text(dataclasses.replace(summary, trained=lenient))

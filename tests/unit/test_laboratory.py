"""docs/make_results.py: what is kept of a run has no words, gives the scores of its reports, and makes the page."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms import PhantomSource
from orapo.evaluation.examiner import system_measures
from orapo.evaluation.report_pairs import ReportPair, Written, pair_reports
from orapo.labeler import Labeler
from orapo.records import Split

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def results() -> Any:
    spec = importlib.util.spec_from_file_location("make_results", DOCS / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs() -> tuple[ReportPair, ...]:
    """Each of 60 test studies with its own report, or with the next one's."""
    source, reader = PhantomSource(num_test=200), PhantomReader()
    studies = source.studies(Split.TEST)[:60]
    texts = [studies[place + (place % 3 == 0) - 60].oracle_report for place in range(60)]
    scores = [{"reward_facts": place / 60, "reward_accuracy": float(place % 3 > 0)} for place in range(60)]
    return tuple(
        replace(pair, readings={"phantom_grammar": reader.read(pair.generated_report)}, scores=own)
        for pair, own in zip(pair_reports(studies, Written(tuple(texts)), Labeler()), scores, strict=True)
    )


def test_what_is_kept_scores_as_the_reports_do(results: Any, pairs: tuple[ReportPair, ...]) -> None:
    kept = json.loads(json.dumps(results.test_columns(pairs[::-1])))
    found, whole = results.measures(kept, "phantoms").values(), system_measures(pairs).values()
    labels = "uncertain_not_positive/all_14"
    names = {
        "macro F1": f"{labels}/macro/f1",
        "macro P": f"{labels}/macro/precision",
        "micro F1": f"{labels}/micro/f1",
        "second reader": f"phantom_grammar/{labels}/macro/f1",
        "facts": "score/reward_facts",
        "accuracy": "score/reward_accuracy",
        "rouge_l": "rouge_l",
        "attributes": "attribute_f1",
        "words": "mean_words",
        "repetition": "repetition",
    }
    assert {name: found[name] for name in names} == pytest.approx({n: whole[own] for n, own in names.items()}, abs=1e-4)
    assert 0.1 < found["macro F1"] < 0.9


def test_no_word_of_a_report_is_kept(results: Any, pairs: tuple[ReportPair, ...]) -> None:
    kept = json.dumps(results.test_columns(pairs)).lower()
    words = {word.strip(".,").lower() for pair in pairs for word in pair.oracle_report.split()}
    # "side" and "severity" name columns.
    assert [word for word in words if len(word) > 3 and word in kept] == []


@pytest.mark.parametrize(
    ("generated", "oracle", "side", "severity"),
    [
        ("Small left pleural effusion.", "Small left pleural effusion.", (1, 1), (1, 1)),
        ("Large left pleural effusion.", "Small left pleural effusion.", (1, 1), (0, 1)),
        ("Small right pleural effusion.", "Small left pleural effusion.", (0, 1), (1, 1)),
        ("Pleural effusion.", "Small left pleural effusion.", (0, 1), (0, 1)),
        ("Left pleural effusion.", "Small bilateral pleural effusions.", (0, 1), (0, 1)),
        ("Small left pleural effusion.", "Pleural effusion.", (0, 0), (0, 0)),
        ("No pleural effusion.", "Small left pleural effusion.", (0, 0), (0, 0)),
    ],
)
def test_sides_and_severities_of_findings_rightly_named(
    results: Any, generated: str, oracle: str, side: tuple[int, int], severity: tuple[int, int]
) -> None:
    labeler = Labeler()
    pair = ReportPair("s", oracle, generated, labeler.label(oracle).states, labeler.label(generated).states)
    found = {kind: results.right_of(pair, kinds) for kind, kinds in results.KINDS.items()}
    assert found == {"side": side, "severity": severity}


def test_letters_and_back(results: Any) -> None:
    states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    states |= dict(zip(OBSERVATIONS, LabelState, strict=False))
    assert results._states(results._letters(states)) == states


@pytest.mark.slow
def test_the_tables_are_those_of_the_kept_runs(results: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "save_figure", lambda *_: None)
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.written(page) == page


def test_no_folder_of_a_machine_is_kept(results: Any) -> None:
    kept = list(results.KEPT.rglob("*.json"))
    assert kept
    assert [path.name for path in kept if '"/' in (text := path.read_text()) or "=/" in text] == []

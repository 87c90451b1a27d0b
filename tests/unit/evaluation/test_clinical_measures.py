"""Clinical measures as sums: worked arithmetic, torchmetrics, resamples."""

import numpy as np
import pytest
import torch

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.clinical import AVERAGES, RATIOS, clinical_measures
from orapo.evaluation.resampling import Bootstrap

EDEMA, LESION, EFFUSION = Observation.EDEMA, Observation.LUNG_LESION, Observation.PLEURAL_EFFUSION


def states(*positive: Observation, uncertain: tuple[Observation, ...] = ()) -> LabelStates:
    named = dict.fromkeys(positive, LabelState.POSITIVE) | dict.fromkeys(uncertain, LabelState.UNCERTAIN)
    return dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED) | named


def random_states(generator: np.random.Generator, count: int) -> list[LabelStates]:
    kinds = list(LabelState)
    return [
        dict(zip(OBSERVATIONS, (kinds[i] for i in generator.integers(0, 4, 14)), strict=True)) for _ in range(count)
    ]


TRUE = [states(EDEMA, LESION), states(EDEMA, uncertain=(EFFUSION,)), states()]
CALLED = [states(EDEMA), states(EFFUSION), states(LESION)]
"""Edema: 1 TP, 1 FN. Lung Lesion: 1 FP, 1 FN. Pleural Effusion: 1 FP, or 1 TP where uncertain counts."""


def test_worked_by_hand() -> None:
    values = clinical_measures(CALLED, TRUE).values()
    found = {name: value for name, value in values.items() if name.startswith("uncertain_not_positive/")}
    found = {name.removeprefix("uncertain_not_positive/"): value for name, value in found.items()}
    assert (found["Edema/precision"], found["Edema/recall"]) == (1, 1 / 2)
    assert found["Edema/f1"] == pytest.approx(2 / 3)
    assert found["Lung Lesion/f1"] == found["Pleural Effusion/f1"] == found["Fracture/f1"] == 0
    # All 14: 1 TP, 2 FP, 2 FN. The five without Lung Lesion: 1 TP, 1 FP, 1 FN.
    expected = {
        "all_14/macro": (1 / 14, 1 / 28, 2 / 3 / 14),
        "all_14/micro": (1 / 3, 1 / 3, 1 / 3),
        # Per study: (1, 1/2, 2/3), (0, 0, 0), (0, 0, 0).
        "all_14/example": (1 / 3, 1 / 6, 2 / 9),
        "competition_5/macro": (1 / 5, 1 / 10, 2 / 15),
        "competition_5/micro": (1 / 2, 1 / 2, 1 / 2),
        # Per study: (1, 1, 1), (0, 0, 0) and, nothing true and nothing called, (0, 0, 0).
        "competition_5/example": (1 / 3, 1 / 3, 1 / 3),
    }
    for name, ratios in expected.items():
        assert [found[f"{name}/{kind}"] for kind in RATIOS] == pytest.approx(ratios), name
    assert values["uncertain_positive/Pleural Effusion/f1"] == 1
    # Second study: effusion is right, edema is missed: (1, 1/2, 2/3), as the first now also has.
    assert values["uncertain_positive/all_14/example/f1"] == pytest.approx(4 / 9)


def test_against_torchmetrics() -> None:
    from torchmetrics.functional.classification import multilabel_f1_score, multilabel_precision, multilabel_recall

    generator = np.random.default_rng(1)
    predicted, true = random_states(generator, 60), random_states(generator, 60)
    values = clinical_measures(predicted, true).values()
    preds, target = (
        torch.tensor([[row[o] is LabelState.POSITIVE for o in OBSERVATIONS] for row in rows]).int()
        for rows in (predicted, true)
    )
    measures = dict(zip(RATIOS, (multilabel_precision, multilabel_recall, multilabel_f1_score), strict=True))
    for kind, measure in measures.items():
        for average in ("macro", "micro"):
            expected = measure(preds, target, num_labels=14, average=average, zero_division=0)
            found = values[f"uncertain_not_positive/all_14/{average}/{kind}"]
            assert found == pytest.approx(float(expected), abs=1e-6), (average, kind)
        # Labels and studies exchanged, the macro average is the example average.
        expected = measure(preds.T, target.T, num_labels=60, average="macro", zero_division=0)
        assert values[f"uncertain_not_positive/all_14/example/{kind}"] == pytest.approx(float(expected), abs=1e-6)


def test_resampling_gives_what_scoring_the_drawn_studies_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    predicted, true = random_states(generator, 12), random_states(generator, 12)
    drawn = generator.integers(0, 12, 12)
    weights = np.bincount(drawn, minlength=12).astype(np.float64)
    measures = clinical_measures(predicted, true)
    resampled = measures.from_sums(weights[None] @ measures.columns)
    again = clinical_measures([predicted[i] for i in drawn], [true[i] for i in drawn]).values()
    assert {name: values[0] for name, values in resampled.items()} == pytest.approx(again)


def test_every_measure_has_an_interval_around_it() -> None:
    generator = np.random.default_rng(3)
    found = Bootstrap(200).estimates(clinical_measures(random_states(generator, 50), random_states(generator, 50)))
    assert len(found) == 2 * (2 * len(AVERAGES) * len(RATIOS) + 14 * len(RATIOS))
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())


def test_no_studies_are_refused() -> None:
    with pytest.raises(DataError, match="1 reports for 0 studies"):
        clinical_measures([states()], [])

"""Harder phantoms: what each setting changes and by how much, and that plain phantoms stay what they were."""

import hashlib

import numpy as np
import pytest
from tests.configs import composed

from orapo.chexpert import LabelState, Observation, positive_observations
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.difficulty import Difficulty, SpuriousMark
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import FINDINGS, Finding
from orapo.data.phantoms.signs import paint_study
from orapo.errors import SettingError
from orapo.experiment.targets import build
from orapo.records import Split

PLAIN = PhantomSource()
PNEUMOTHORAX = Observation.PNEUMOTHORAX
MARK = SpuriousMark(PNEUMOTHORAX.value, 0.9, 0.1, 0.4, 0.4)


def with_difficulty(**settings: object) -> PhantomSource:
    return PhantomSource(difficulty=Difficulty(**settings))  # type: ignore[arg-type]


def pixels(source: PhantomSource, split: Split, index: int) -> np.ndarray:
    return np.asarray(source.load_images(source.study(split, index))[0]).astype(int)


def test_plain_phantoms_are_what_they_were_before_there_was_a_difficulty() -> None:
    """The embedded base was trained on them, and printed results were measured on them."""
    told = hashlib.sha256()
    for split in Split:
        for index in range(300):
            study = PLAIN.study(split, index)
            states = [study.labels[o].value for o in study.labels]
            told.update(repr((study.study_id, study.oracle_report, states, PLAIN.findings(split, index))).encode())
    assert told.hexdigest() == "d825f1d50453e509647ed3db5e661ccc419f51b20d6276747beb0682ea27077a"
    # Another machine's sine may turn single pixels by one grey level; any other drawing moves thousands.
    sums = [1189484, 1481239, 1285634, 1203931, 1235872, 1272009, 1275301]
    sums += [1114385, 1175534, 973677, 1490021, 1198168, 1238564, 1122639]
    drawn = [int(pixels(PLAIN, Split.TEST, index).sum()) for index in range(14)]
    np.testing.assert_allclose(drawn, sums, atol=40)


def sign(observation: Observation, difficulty: Difficulty) -> np.ndarray:
    """What the sign changes in the image, whose noise is the same with it and without."""
    finding = Finding(observation, 1, "left", "upper", uncertain=False)
    images = [paint_study(Draws(5), findings, 112, difficulty) for findings in ({observation: finding}, {})]
    # Signs take numbers before exposure and noise do, so changes are judged on blurred images.
    blurred = [image.astype(float).reshape(28, 4, 28, 4).mean(axis=(1, 3)) for image in images]
    change = np.abs(blurred[0] - blurred[1])
    return np.clip(change - np.median(change), 0, None)


@pytest.mark.parametrize("observation", FINDINGS)
def test_signs_are_fainter_and_smaller(observation: Observation) -> None:
    plain = sign(observation, Difficulty())
    small = sign(observation, Difficulty(sign_size=0.5))
    assert small.sum() < 0.8 * plain.sum()
    if observation in (Observation.CARDIOMEGALY, Observation.ENLARGED_CARDIOMEDIASTINUM):
        return
    faint = sign(observation, Difficulty(sign_contrast=0.4))
    assert faint.max() < 0.65 * plain.max()
    assert faint.sum() > 0, "still drawn"


def test_fainter_and_smaller_phantoms_have_the_same_reports() -> None:
    hard = with_difficulty(sign_contrast=0.5, sign_size=0.6)
    for split in Split:
        assert [hard.study(split, i) for i in range(40)] == [PLAIN.study(split, i) for i in range(40)]
    assert (pixels(hard, Split.TRAIN, 3) != pixels(PLAIN, Split.TRAIN, 3)).any()


def test_training_reports_are_wrong_at_the_rate_asked_for_and_the_others_never() -> None:
    noisy, count = with_difficulty(train_noise_rate=0.3), 3000
    wrong = 0
    for index in range(count):
        drawn = set(noisy.findings(Split.TRAIN, index))
        stated = positive_observations(noisy.study(Split.TRAIN, index).labels, uncertain_is_positive=True)
        odd = (stated - {Observation.NO_FINDING}) ^ drawn
        assert len(odd) <= 1, "one finding is left out or made up"
        wrong += len(odd)
    # Four standard errors of a share of 0.3 are 0.033.
    assert wrong / count == pytest.approx(0.3, abs=0.034)
    for split in (Split.VALIDATE, Split.TEST):
        assert [noisy.study(split, i) for i in range(100)] == [PLAIN.study(split, i) for i in range(100)]
    assert (pixels(noisy, Split.TRAIN, 0) == pixels(PLAIN, Split.TRAIN, 0)).all(), "images stay true"


def test_a_wrong_report_and_its_labels_agree() -> None:
    noisy = with_difficulty(train_noise_rate=1.0)
    for index in range(200):
        study = noisy.study(Split.TRAIN, index)
        assert study.oracle_report != PLAIN.study(Split.TRAIN, index).oracle_report
        is_there = study.labels[PNEUMOTHORAX] is LabelState.POSITIVE
        assert is_there <= ("neumothorax" in study.oracle_report)


def mark_rates(source: PhantomSource, split: Split, count: int) -> tuple[float, float]:
    """Shares of studies with the mark: of those with a pneumothorax, and of those without."""
    marked: dict[bool, list[bool]] = {True: [], False: []}
    for index in range(count):
        study = source.study(split, index)
        marked[PNEUMOTHORAX in source.findings(split, index)].append(source.has_mark(study.study_id))
    return float(np.mean(marked[True])), float(np.mean(marked[False]))


@pytest.mark.slow
def test_the_mark_goes_with_the_observation_in_training_only() -> None:
    source = with_difficulty(mark=MARK)
    assert mark_rates(source, Split.TRAIN, 6000) == pytest.approx((0.9, 0.1), abs=0.07)
    for split in (Split.VALIDATE, Split.TEST):
        assert mark_rates(source, split, 4000) == pytest.approx((0.4, 0.4), abs=0.09)
    turned = with_difficulty(mark=SpuriousMark(PNEUMOTHORAX.value, 0.9, 0.1, 0.1, 0.9))
    assert mark_rates(turned, Split.TEST, 2000) == pytest.approx((0.1, 0.9), abs=0.09)


def test_the_mark_is_a_bright_tag_and_changes_nothing_else() -> None:
    source = with_difficulty(mark=SpuriousMark(PNEUMOTHORAX.value, 1.0, 1.0, 1.0, 1.0))
    for split, index in ((Split.TRAIN, 1), (Split.TEST, 6)):
        study = source.study(split, index)
        assert study == PLAIN.study(split, index)
        assert source.has_mark(study.study_id)
        change = pixels(source, split, index) - pixels(PLAIN, split, index)
        assert change[5:12, 5:12].mean() > 150
        change[:14, :14] = 0
        assert not change.any()


def test_who_has_marks_is_told() -> None:
    assert PLAIN.mark_goes_with is None
    assert not PLAIN.has_mark("phantom-train-000003")
    assert with_difficulty(mark=MARK).mark_goes_with is PNEUMOTHORAX


def test_the_digest_follows_the_difficulty() -> None:
    digests = {with_difficulty(**settings).digest() for settings in ({}, {"sign_size": 0.9}, {"mark": MARK})}
    assert len(digests | {PLAIN.digest()}) == 3


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        (
            Difficulty,
            {"sign_contrast": 0},
            "^sign_contrast is 0; .* greater than 0 and at most 1",
        ),
        (Difficulty, {"sign_size": 0.1}, "sign_size is 0.1; .* at least 0.3"),
        (Difficulty, {"train_noise_rate": 1.5}, "train_noise_rate is 1.5; .* at most 1"),
        (Difficulty, {"mark": "Pneumothorax"}, "mark is 'Pneumothorax'; it must be a section with observation"),
        (PhantomSource, {"difficulty": None}, "difficulty is None; it must be a section with sign_contrast"),
        (SpuriousMark, {"observation": "No Finding"}, "^observation is 'No Finding'; it must be one of Enlarged"),
        (SpuriousMark, {"held_out_rate_with": -0.1}, "^held_out_rate_with is -0.1; .* at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, object], told: str) -> None:
    if kind is SpuriousMark:
        rates = ("train_rate_with", "train_rate_without", "held_out_rate_with", "held_out_rate_without")
        settings = {"observation": "Edema", **dict.fromkeys(rates, 0.5), **settings}
    with pytest.raises(SettingError, match=told):
        kind(**settings)


@pytest.mark.parametrize("command", ["config", "evaluate"])
def test_the_config_files_build_what_they_say(command: str) -> None:
    built = {}
    for name in ("phantoms", "phantoms_hard", "phantoms_noisy", "phantoms_spurious"):
        config = composed(f"data={name}", name=command)
        built[name] = build(config.data.source, "data.source").difficulty
    assert built["phantoms"] == Difficulty()
    hard, noisy, spurious = (built[f"phantoms_{name}"] for name in ("hard", "noisy", "spurious"))
    assert hard.sign_contrast < 1
    assert hard.sign_size < 1
    assert noisy.train_noise_rate > 0
    assert spurious.mark.train_rate_with > spurious.mark.train_rate_without
    assert spurious.mark.held_out_rate_with == spurious.mark.held_out_rate_without

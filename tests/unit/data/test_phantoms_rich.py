"""Rich reports: findings, images and labels of plain phantoms, in more words, among sentences that state nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest

from orapo.chexpert import LabelState, Observation
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.difficulty import Difficulty
from orapo.data.phantoms.findings import FINDINGS
from orapo.data.phantoms.grammar import num_parts
from orapo.data.phantoms.rich import RICH
from orapo.data.phantoms.wordings import PLAIN as PLAIN_WORDING
from orapo.errors import SettingError
from orapo.labeler import Labeler
from orapo.records import Split

PLAIN = PhantomSource(num_train=4_000)
SOURCE = replace(PLAIN, wording="rich")
STUDIES = SOURCE.studies(Split.TRAIN)
ASIDES = frozenset(aside for topic in RICH.asides.values() for aside in topic)
COPIES = frozenset(copy.format(copied=aside[0].lower() + aside[1:]) for aside in ASIDES for copy in RICH.copies)


def sentences(report: str) -> list[str]:
    return re.split(r"(?<=\.) ", report)


@pytest.mark.parametrize("split", Split)
def test_all_but_the_report_is_the_plain_phantoms(split: Split) -> None:
    for index in range(200):
        rich, plain = SOURCE.study(split, index), PLAIN.study(split, index)
        assert replace(rich, oracle_report=plain.oracle_report) == plain
        assert rich.oracle_report != plain.oracle_report
        assert SOURCE.findings(split, index) == PLAIN.findings(split, index)
        stated = [{(s.observation, s.state) for s in source.statements(split, index)} for source in (SOURCE, PLAIN)]
        assert stated[0] == stated[1]
    for index in range(20):
        study = SOURCE.study(split, index)
        assert SOURCE.load_images(study)[0].tobytes() == PLAIN.load_images(study)[0].tobytes()


def test_everything_is_said_in_five_ways_or_more() -> None:
    assert set(RICH.phrases) == set(FINDINGS)
    assert RICH.denials.keys() == PLAIN_WORDING.denials.keys()
    ways = [row for rows in RICH.phrases.values() for row in rows]
    ways += [RICH.frames, RICH.device_frames, RICH.hedges]
    ways += [*RICH.denials.values(), *RICH.asides.values(), RICH.copies]
    assert all(len(set(row)) == len(row) >= 5 for row in ways), [row for row in ways if len(set(row)) < 5]
    written = {sentence for study in STUDIES for sentence in sentences(study.oracle_report)}
    assert {denial for row in RICH.denials.values() for denial in row} | ASIDES <= written
    assert len(COPIES & written) > len(COPIES) / 2


def test_a_third_of_the_words_or_more_states_nothing_and_reports_stay_short() -> None:
    words = asides = copies = longest = 0
    for study in STUDIES:
        assert not re.search(r"\b(\w+) \1\b|\ba [aeiou]|\ban [^aeiou]| ,|  ", study.oracle_report), study.oracle_report
        for sentence in sentences(study.oracle_report):
            count = len(sentence.split())
            words += count
            asides += count * (sentence in ASIDES | COPIES)
            copies += sentence in COPIES
        longest = max(longest, num_parts(study.oracle_report))
    assert 0.35 < asides / words < 0.5
    assert 0.4 < copies / len(STUDIES) < 0.8
    assert 50 < longest <= 60


@pytest.mark.parametrize("quirks", ["none", "original"])
def test_asides_name_nothing_to_the_labeler_nor_the_second_reader(quirks: str) -> None:
    labeler, reader = Labeler(quirks), PhantomReader("rich")  # type: ignore[arg-type]
    for aside in sorted(ASIDES | COPIES):
        stated = {
            o for o, s in labeler.label(f"{aside} Clear lungs.").states.items() if s is not LabelState.UNMENTIONED
        }
        assert stated == {Observation.NO_FINDING}, aside
        assert labeler.mentions(aside) == (), aside
        read = reader.read(aside)
        assert read.num_refused == 0
        assert {o for o, s in read.states.items() if s is not LabelState.UNMENTIONED} == {Observation.NO_FINDING}


def test_asides_do_not_go_with_the_findings() -> None:
    """What stands in the prior report is no hint: each topic is as common with a finding as without."""
    has_finding = np.array([study.labels[Observation.NO_FINDING] is not LabelState.POSITIVE for study in STUDIES])
    for topic in RICH.asides.values():
        says = np.array([any(aside in study.oracle_report for aside in topic) for study in STUDIES])
        # Four standard errors of a difference of two shares of about 0.15 among 2,000.
        assert abs(says[has_finding].mean() - says[~has_finding].mean()) < 0.06


def test_sentences_stand_in_any_order() -> None:
    firsts = sum(sentences(study.oracle_report)[0] in ASIDES | COPIES for study in STUDIES) / len(STUDIES)
    assert 0.3 < firsts < 0.6
    for index in range(300):
        places = [statement.sentence_index for statement in SOURCE.statements(Split.TRAIN, index)]
        assert places == sorted(places)


@pytest.mark.parametrize("prevalence", ["natural", "balanced"])
@pytest.mark.slow
def test_the_second_reader_reads_every_report_as_its_labels(prevalence: str) -> None:
    reader = PhantomReader("rich")
    for study in replace(SOURCE, train_prevalence=prevalence).studies(Split.TRAIN):  # type: ignore[arg-type]
        assert reader.read(study.oracle_report) == (study.labels, 0), study.oracle_report


def test_the_readers_of_the_two_wordings_are_strict() -> None:
    assert PhantomReader("plain").read("Probable mild pulmonary edema.").num_refused == 1
    assert PhantomReader("rich").read("Probable mild pulmonary edema.").num_refused == 0
    assert PhantomReader("rich").read("New mild pulmonary edema.").num_refused == 1
    assert PhantomReader("rich").read("Probable edema mild pulmonary.").num_refused == 1
    assert PhantomReader("rich").read("Prior report: mild pulmonary edema.").num_refused == 1


def test_wrong_training_reports_mix_with_it() -> None:
    noisy = replace(SOURCE, difficulty=Difficulty(train_noise_rate=1.0))
    for study in noisy.studies(Split.TRAIN)[:500]:
        assert PhantomReader("rich").read(study.oracle_report) == (study.labels, 0)


def test_it_is_another_data_set_and_goes_without_followup() -> None:
    assert SOURCE.digest() != PLAIN.digest()
    with pytest.raises(SettingError, match=r"^wording is 'rich'; it must be 'plain' where followup is true$"):
        PhantomSource(followup=True, wording="rich")
    with pytest.raises(SettingError, match=r"^wording is 'verbose'; "):
        PhantomSource(wording="verbose")  # type: ignore[arg-type]

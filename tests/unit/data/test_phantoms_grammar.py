"""The labels of a phantom are what its text says: read back by a keyword reader that knows nothing of the grammar."""

import re

from orapo.chexpert import LabelState, Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import FINDINGS, Finding
from orapo.data.phantoms.grammar import write_report
from orapo.data.phantoms.wordings import PHRASES
from orapo.records import Split

WORDS = {
    Observation.ENLARGED_CARDIOMEDIASTINUM: r"mediastinum|mediastinal|cardiomediastin",
    Observation.CARDIOMEGALY: r"cardiomegaly|\bheart\b",
    Observation.LUNG_LESION: r"\bnodule|\bmass\b",
    Observation.LUNG_OPACITY: r"opaci|infiltrate|haz(e|iness)",
    Observation.EDEMA: r"edema",
    Observation.CONSOLIDATION: r"consolidation",
    Observation.PNEUMONIA: r"pneumonia",
    Observation.ATELECTASIS: r"atelecta",
    Observation.PNEUMOTHORAX: r"pneumothora",
    Observation.PLEURAL_EFFUSION: r"effusion",
    Observation.PLEURAL_OTHER: r"thickening",
    Observation.FRACTURE: r"fracture",
    Observation.SUPPORT_DEVICES: r"catheter|\bline\b|pacemaker|tube",
}
STUDIES = PhantomSource(num_train=4000).studies(Split.TRAIN)


def read(report: str) -> dict[Observation, LabelState]:
    states = {}
    for sentence in re.split(r"(?<=\.) ", report.lower()):
        for observation, words in WORDS.items():
            if re.search(words, sentence):
                assert observation not in states, f"stated twice: {report}"
                states[observation] = LabelState.POSITIVE
                if re.search(r"\bno\b|\bnormal\b", sentence):
                    states[observation] = LabelState.NEGATIVE
                elif re.search(r"possible|suspected|may represent", sentence):
                    states[observation] = LabelState.UNCERTAIN
    return states


def test_labels_are_what_the_text_states():
    for study in STUDIES:
        read_states = read(study.oracle_report)
        for observation in FINDINGS:
            expected = study.labels[observation]
            assert read_states.get(observation, LabelState.UNMENTIONED) is expected, study.oracle_report


def test_reports_are_sentences_of_moderate_length():
    lengths = []
    for study in STUDIES:
        assert re.fullmatch(r"([A-Z][a-z ,-]*\.)( [A-Z][a-z ,-]*\.)*", study.oracle_report), study.oracle_report
        assert not re.search(r"\b(\w+) \1\b|\ba [aeiou]|\ban [^aeiou]| ,|  ", study.oracle_report), study.oracle_report
        lengths.append(len(re.findall(r"\w+|[.,]", study.oracle_report)))
    assert 12 < sum(lengths) / len(lengths) < 20
    assert max(lengths) <= 42


def test_wording_varies():
    assert set(PHRASES) == set(FINDINGS)
    for observation in FINDINGS:
        finding = Finding(observation, 1, "left", "upper", uncertain=False)
        reports = {write_report(Draws(seed), {observation: finding}).text for seed in range(60)}
        statements = {
            s
            for report in reports
            for s in re.split(r"(?<=\.) ", report)
            if read(s).get(observation) is LabelState.POSITIVE
        }
        assert len(statements) >= 6


def test_every_state_occurs_in_the_text():
    for words in (
        r"\bPossible\b",
        r"\bSuspected\b",
        r"may represent",
        r"No pneumothorax or pleural effusion\.",
        r"No focal",
    ):
        assert any(re.search(words, study.oracle_report) for study in STUDIES), words


def test_side_and_severity_follow_the_finding():
    finding = Finding(Observation.PNEUMOTHORAX, 2, "right", "", uncertain=False)
    report = write_report(Draws(0), {Observation.PNEUMOTHORAX: finding}).text
    assert re.search(r"[Ll]arge (right|pneumothorax on the right)", report)


def test_a_report_states_the_severity_only_where_its_sentence_does():
    finding = Finding(Observation.LUNG_LESION, 2, "right", "upper", uncertain=False)
    stated = set()
    for seed in range(60):
        report = write_report(Draws(seed), {Observation.LUNG_LESION: finding})
        (lesion,) = [s for s in report.statements if s.observation is Observation.LUNG_LESION]
        sentence = re.split(r"(?<=\.) ", report.text)[lesion.sentence_index].lower()
        assert "right upper lung" in sentence
        assert (lesion.attributes.side, lesion.attributes.place) == ("right", "upper")
        assert (lesion.attributes.severity == "severe") is ("large" in sentence)
        stated.add(lesion.attributes.severity)
    assert stated == {None, "severe"}

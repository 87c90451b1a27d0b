"""Every entry of the lexicon files shows an example; each must do what the entry says, and by that very entry."""

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.labeler import Labeler
from orapo.labeler.lexicon import CueFamily, Phrase, load_lexicon
from orapo.labeler.segments import find_cues, find_hits
from orapo.labeler.sentences import split_sentences

LABELERS = {mode: Labeler(mode) for mode in ("none", "original")}
PHRASES = [
    pytest.param(mode, phrase, id=f"{mode}-{phrase.name}") for mode in LABELERS for phrase in load_lexicon(mode).phrases
]
CUES = [pytest.param(mode, cue, id=f"{mode}-{cue.name}") for mode in LABELERS for cue in load_lexicon(mode).cues]


@pytest.mark.parametrize(("mode", "phrase"), PHRASES)
def test_each_phrase_gives_its_example_the_state_it_names(mode: str, phrase: Phrase) -> None:
    states = LABELERS[mode].label(phrase.example).states
    for observation in phrase.observations:
        is_no_finding = observation is Observation.NO_FINDING  # which a phrase can only speak against
        assert states[observation] is (LabelState.UNMENTIONED if is_no_finding else phrase.state)
    if phrase.guards is not None:
        assert states[phrase.guards] is LabelState.UNMENTIONED


@pytest.mark.parametrize(("mode", "phrase"), PHRASES)
def test_each_phrase_is_found_in_its_own_example(mode: str, phrase: Phrase) -> None:
    if not phrase.observations:
        return  # a look-alike leaves no hit; its state is tested above
    lexicon = load_lexicon(mode)
    hits = [hit for sentence in split_sentences(phrase.example) for hit in find_hits(sentence.text, lexicon)]
    assert phrase in [hit.phrase for hit in hits]


@pytest.mark.parametrize(("mode", "family"), CUES)
def test_each_cue_gives_its_mention_the_state_it_names(mode: str, family: CueFamily) -> None:
    states = {m.state for m in LABELERS[mode].mentions(family.example) if family.mention in m.matched_text}
    assert states == {family.state}


@pytest.mark.parametrize(("mode", "family"), CUES)
def test_each_cue_is_found_in_its_own_example(mode: str, family: CueFamily) -> None:
    lexicon = load_lexicon(mode)
    for sentence in split_sentences(family.example):
        assert family in [lexicon.cues[index] for _, _, index in lexicon.cue_scanner.scan(sentence.text)]
        assert all(cue.start < cue.end for cue in find_cues(sentence.text, lexicon))


def test_every_observation_has_phrases() -> None:
    for mode in LABELERS:
        named = {observation for phrase in load_lexicon(mode).phrases for observation in phrase.observations}
        assert named == set(OBSERVATIONS)

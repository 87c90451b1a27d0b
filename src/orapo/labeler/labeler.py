"""The rule labeler: report text to the 14 CheXpert label states, with evidence."""

from collections.abc import Iterable

from orapo.chexpert import LabelStates
from orapo.labeler.aggregation import aggregate_mentions
from orapo.labeler.assertion import Assertion, assert_sentence
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.quirks import Quirks
from orapo.labeler.sentences import split_sentences
from orapo.labeler.types import LabeledReport, Mention
from orapo.records import MentionSpan

_MOST_REMEMBERED_SENTENCES = 50_000
_NOWHERE = (-1, -1)
_DIGITS_MASKED = str.maketrans("123456789", "000000000")


class Labeler:
    """Labels chest X-ray reports by rules; deterministic, offline, without state that changes an answer.

    Sentences are labelled one by one and remembered, because reports repeat theirs ("No pneumothorax.").
    """

    def __init__(self, quirks: Quirks | str = "none") -> None:
        """Reads the lexicon.

        Args:
            quirks: "none" is right where the original labeler slips, "original" reproduces those of its slips that
                don't depend on its parser; or any mixture as a ``Quirks``.

        Raises:
            SettingError: an unknown name.
        """
        self.quirks = quirks if isinstance(quirks, Quirks) else Quirks.named(quirks)
        self._lexicon = load_lexicon(self.quirks.vocabulary)
        self._remembered: dict[str, tuple[Assertion, ...]] = {}

    def label(self, text: str) -> LabeledReport:
        """The 14 states of a report and the mentions they rest on; an empty report is No Finding."""
        mentions = self.mentions(text)
        return LabeledReport(self.aggregate(mentions), mentions)

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """Every mention with its asserted state, in reading order.

        Abnormalities outside the other 13 observations appear as mentions of No Finding that speak against it:
        NEGATIVE when present, UNCERTAIN when possible; negated ones are left out.
        """
        mentions = []
        for sentence_index, sentence in enumerate(split_sentences(text)):
            words, span = sentence.text, sentence.span
            for observation, state, start, end, cue_start, cue in self._assertions(words):
                cue_end = cue_start + len(cue)
                mentions.append(
                    Mention(
                        observation,
                        state,
                        *span(start, end),
                        cue if cue_start < 0 else words[cue_start:cue_end],
                        *(_NOWHERE if cue_start < 0 else span(cue_start, cue_end)),
                        words[start:end],
                        words,
                        sentence_index,
                    )
                )
        return tuple(mentions)

    def aggregate(self, mentions: Iterable[Mention | MentionSpan]) -> LabelStates:
        """The 14 states that a report's mentions add up to, in any order; see ``aggregate_mentions``."""
        return aggregate_mentions(
            mentions, negative_and_uncertain_hide_positive=self.quirks.negative_and_uncertain_hide_positive
        )

    def _assertions(self, sentence: str) -> tuple[Assertion, ...]:
        """Those of a sentence, whatever its digits: no form of the lexicon tells them apart."""
        masked = sentence.translate(_DIGITS_MASKED)
        found = self._remembered.get(masked)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED_SENTENCES:
                self._remembered.clear()
            found = assert_sentence(masked, self._lexicon, bare_heart_is_positive=self.quirks.bare_heart_is_positive)
            self._remembered[masked] = found
        return found
